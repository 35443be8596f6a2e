import { undated } from '../../claude/models/models.ts';
import { baseUrl, hostLabel, withoutVersion } from '../../claude/providers/fields.ts';
import { defineKind } from '../../claude/providers/kind.ts';
import { saysModelIsMissing } from '../../claude/providers/missing-model.ts';
import { signedPath, toService } from '../../claude/providers/service-headers.ts';
import { readAwsKey } from './aws-key.ts';
import { onlyHas } from './features.ts';

/** Claude on Amazon Bedrock, at the endpoint that takes requests in the form of the Claude API. */
export const bedrockKind = defineKind({
  fields: { base_url: baseUrl, region: hostLabel('us-east-1') },
  open: ({ base_url, region }, secret) => {
    const base = withoutVersion(base_url ?? `https://bedrock-mantle.${region}.api.aws/anthropic`);
    const key = readAwsKey(secret, { service: 'bedrock-mantle', region });
    return {
      address: ({ path }) => base + (key.signs ? signedPath(path) : path),
      adapt: ({ headers }) => {
        const { 'anthropic-user-profile-id': profile, ...others } = toService(headers);
        return {
          headers: others,
          changes: profile === undefined ? {} : { user_profile_id: { ifAbsent: JSON.stringify(profile) } },
        };
      },
      authorize: key.authorize,
      idOf: (model) => (model.includes('anthropic.') ? model : `anthropic.${undated(model)}`),
      missesModel: (text, idThere) =>
        [idThere, idThere.replace(/^.*anthropic\./, '')].some((name) => saysModelIsMissing(text, name)),
      lacks: onlyHas('messages', 'token counts'),
    };
  },
});
