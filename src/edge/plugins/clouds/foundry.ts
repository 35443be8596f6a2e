import { baseUrl, createHostLabelSchema, stripVersion } from '../../claude/providers/fields.ts';
import { isMissingModelError, parseErrorText } from '../../claude/providers/missing-model.ts';
import { defineProvider, parseApiKey } from '../../claude/providers/provider.ts';
import { filterHeadersForCloudService } from '../../claude/providers/service-headers.ts';
import * as z from '../../kit/http/zod.ts';
import { createMissingFeatureFinder } from './features.ts';

/** A token of Microsoft Entra is a JWT; an API key of a resource is not. */
const JWT = /^eyJ[\w-]+\.[\w-]+\.[\w-]+$/;

/** Claude in Microsoft Foundry. */
export const foundryKind = defineProvider({
  fields: { base_url: baseUrl, resource: z.optional(createHostLabelSchema('my-resource')) },
  fault: ({ base_url, resource }) =>
    (base_url === undefined) === (resource === undefined) ? 'needs either resource or base_url' : undefined,
  createAdapter: ({ base_url, resource }, secret) => {
    const base = stripVersion(base_url ?? `https://${resource}.services.ai.azure.com/anthropic`);
    const key = parseApiKey(secret, 'must be an API key, or a token of Microsoft Entra');
    const credential = JWT.test(key) ? { authorization: `Bearer ${key}` } : { 'x-api-key': key };
    return {
      buildUrl: ({ path }) => base + path,
      adapt: ({ headers }) => ({ headers: filterHeadersForCloudService(headers), changes: {} }),
      createAuthorizationHeaders: () => credential,
      missesModel: (text, idThere) =>
        parseErrorText(text).code === 'DeploymentNotFound' || isMissingModelError(text, idThere),
      lacks: createMissingFeatureFinder('messages', 'token counts', 'files'),
    };
  },
});
