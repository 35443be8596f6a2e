import { stripDate } from '../../claude/models/models.ts';
import { baseUrl, createHostLabelSchema, stripVersion } from '../../claude/providers/fields.ts';
import { isMissingModelError } from '../../claude/providers/missing-model.ts';
import { defineProvider } from '../../claude/providers/provider.ts';
import { filterHeadersForCloudService, toSignedPath } from '../../claude/providers/service-headers.ts';
import { parseAwsCredential } from './aws-key.ts';
import { createMissingFeatureFinder } from './features.ts';

/** Claude on Amazon Bedrock, at the endpoint that takes requests in the form of the Claude API. */
export const bedrockKind = defineProvider({
  fields: { base_url: baseUrl, region: createHostLabelSchema('us-east-1') },
  createAdapter: ({ base_url, region }, secret) => {
    const base = stripVersion(base_url ?? `https://bedrock-mantle.${region}.api.aws/anthropic`);
    const key = parseAwsCredential(secret, { service: 'bedrock-mantle', region });
    return {
      buildUrl: ({ path }) => base + (key.signs ? toSignedPath(path) : path),
      adapt: ({ headers }) => {
        const { 'anthropic-user-profile-id': profile, ...others } = filterHeadersForCloudService(headers);
        return {
          headers: others,
          changes: profile === undefined ? {} : { user_profile_id: { ifAbsent: JSON.stringify(profile) } },
        };
      },
      createAuthorizationHeaders: key.createAuthorizationHeaders,
      idOf: (model) => (model.includes('anthropic.') ? model : `anthropic.${stripDate(model)}`),
      missesModel: (text, idThere) =>
        [idThere, idThere.replace(/^.*anthropic\./, '')].some((name) => isMissingModelError(text, name)),
      lacks: createMissingFeatureFinder('messages', 'token counts'),
    };
  },
});
