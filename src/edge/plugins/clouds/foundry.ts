import { baseUrl, hostLabel, withoutVersion } from '../../claude/providers/fields.ts';
import { defineKind, readApiKey } from '../../claude/providers/kind.ts';
import { errorInText, saysModelIsMissing } from '../../claude/providers/missing-model.ts';
import { toService } from '../../claude/providers/service-headers.ts';
import * as z from '../../kit/http/zod.ts';
import { onlyHas } from './features.ts';

/** A token of Microsoft Entra is a JWT; an API key of a resource is not. */
const JWT = /^eyJ[\w-]+\.[\w-]+\.[\w-]+$/;

/** Claude in Microsoft Foundry. */
export const foundryKind = defineKind({
  fields: { base_url: baseUrl, resource: z.optional(hostLabel('my-resource')) },
  fault: ({ base_url, resource }) =>
    (base_url === undefined) === (resource === undefined) ? 'needs either resource or base_url' : undefined,
  open: ({ base_url, resource }, secret) => {
    const base = withoutVersion(base_url ?? `https://${resource}.services.ai.azure.com/anthropic`);
    const key = readApiKey(secret, 'must be an API key, or a token of Microsoft Entra');
    const credential = JWT.test(key) ? { authorization: `Bearer ${key}` } : { 'x-api-key': key };
    return {
      address: ({ path }) => base + path,
      adapt: ({ headers }) => ({ headers: toService(headers), changes: {} }),
      authorize: () => credential,
      missesModel: (text, idThere) =>
        errorInText(text).code === 'DeploymentNotFound' || saysModelIsMissing(text, idThere),
      lacks: onlyHas('messages', 'token counts', 'files'),
    };
  },
});
