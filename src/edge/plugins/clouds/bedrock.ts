import { stripDate } from '../../claude/models/models.ts';
import { baseUrl, hostLabelSchema, stripVersion } from '../../claude/providers/fields.ts';
import { isMissingModelError } from '../../claude/providers/missing-model.ts';
import { defineProvider } from '../../claude/providers/provider.ts';
import { toServiceHeaders, toSignedPath } from '../../claude/providers/service-headers.ts';
import { readAwsKey } from './aws-key.ts';
import { lacksAllExcept } from './features.ts';

/** Claude on Amazon Bedrock, at the endpoint that takes requests in the form of the Claude API. */
export const bedrockKind = defineProvider({
  fields: { base_url: baseUrl, region: hostLabelSchema('us-east-1') },
  open: ({ base_url, region }, secret) => {
    const base = stripVersion(base_url ?? `https://bedrock-mantle.${region}.api.aws/anthropic`);
    const key = readAwsKey(secret, { service: 'bedrock-mantle', region });
    return {
      address: ({ path }) => base + (key.signs ? toSignedPath(path) : path),
      adapt: ({ headers }) => {
        const { 'anthropic-user-profile-id': profile, ...others } = toServiceHeaders(headers);
        return {
          headers: others,
          changes: profile === undefined ? {} : { user_profile_id: { ifAbsent: JSON.stringify(profile) } },
        };
      },
      authorize: key.authorize,
      idOf: (model) => (model.includes('anthropic.') ? model : `anthropic.${stripDate(model)}`),
      missesModel: (text, idThere) =>
        [idThere, idThere.replace(/^.*anthropic\./, '')].some((name) => isMissingModelError(text, name)),
      lacks: lacksAllExcept('messages', 'token counts'),
    };
  },
});
