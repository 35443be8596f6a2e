import { baseUrl, createHostLabelSchema, createUrlSegmentSchema } from '../../claude/providers/fields.ts';
import { parseErrorText } from '../../claude/providers/missing-model.ts';
import { type AuthorizationContext, defineProvider, type ProviderAdapter } from '../../claude/providers/provider.ts';
import { filterHeadersForCloudService } from '../../claude/providers/service-headers.ts';
import { toJsonText } from '../../kit/json/object.ts';
import { createMissingFeatureFinder } from './features.ts';
import { GoogleAccessTokenCache } from './google-tokens.ts';

/** The hosts of regions whose host does not have the usual name. */
const HOSTS: ReadonlyMap<string, string> = new Map([
  ['global', 'aiplatform.googleapis.com'],
  ['us', 'aiplatform.us.rep.googleapis.com'],
  ['eu', 'aiplatform.eu.rep.googleapis.com'],
]);

/** The settings of an upstream of this kind. */
interface VertexOptions {
  base_url?: string | undefined;
  project: string;
  region: string;
}

/** Claude on Google Cloud's Vertex AI. */
export const vertexKind = defineProvider({
  fields: { base_url: baseUrl, project: createUrlSegmentSchema('my-project'), region: createHostLabelSchema('global') },
  createAdapter: (options, secret) => {
    const tokens = new GoogleAccessTokenCache(secret);
    const endpoint = createVertexProvider(options, (by) => tokens.getAccessToken(by));
    return { ...endpoint, forgetCredential: () => tokens.dropAccessToken() };
  },
});

/** @returns an upstream of this kind. @param token gets an access token */
function createVertexProvider(
  { base_url, project, region }: VertexOptions,
  tokenOf: (by: AuthorizationContext) => Promise<string>,
): ProviderAdapter {
  const base = base_url ?? `https://${HOSTS.get(region) ?? `${region}-aiplatform.googleapis.com`}/v1`;
  const models = `${base}/projects/${project}/locations/${region}/publishers/anthropic/models`;
  return {
    buildUrl: ({ path, streams }, idThere = '') => {
      const query = getQueryWithoutBeta(path);
      if (isTokenCountPath(path)) return `${models}/count-tokens:rawPredict${query}`;
      return `${models}/${toPathSegment(idThere)}:${streams ? 'streamRawPredict' : 'rawPredict'}${query}`;
    },
    adapt: ({ path, headers }) => {
      const { 'anthropic-version': version, ...others } = filterHeadersForCloudService(headers);
      return {
        headers: others,
        changes: {
          ...(isTokenCountPath(path) ? {} : { model: undefined }),
          ...(version !== undefined && { anthropic_version: { ifAbsent: JSON.stringify(version) } }),
        },
      };
    },
    createAuthorizationHeaders: async (_, by) => ({ authorization: `Bearer ${await tokenOf(by)}` }),
    missesModel: (text) => {
      const { status, message } = parseErrorText(text);
      return status === 'NOT_FOUND' && /^Publisher Model\b/i.test(toJsonText(message));
    },
    // Write the date of a snapshot with `@`, as Vertex AI does, instead of `-`.
    // https://docs.cloud.google.com/vertex-ai/generative-ai/docs/partner-models/claude/use-claude
    idOf: (model, id) => (model.includes('@') ? model : id.replace(/-(\d{8})$/, '@$1')),
    lacks: createMissingFeatureFinder('messages', 'token counts'),
  };
}

function isTokenCountPath(path: string): boolean {
  return path.startsWith('/v1/messages/count_tokens');
}

/** @returns the path without `beta=true`, which marks the API's beta routes and has no meaning here. */
function getQueryWithoutBeta(path: string): string {
  const at = path.indexOf('?');
  const query = at < 0 ? [] : path.slice(at + 1).split('&');
  const rest = query.filter((part) => part !== '' && !/^beta(?:=|$)/.test(part));
  return rest.length > 0 ? `?${rest.join('&')}` : '';
}

/**
 * @returns a model's name, safe for a path. The caller chooses the name, so it must not lead to another path or method. Half a
 *   surrogate pair, which no path can have, becomes the sign for that
 */
function toPathSegment(model: string): string {
  return encodeURIComponent(model.toWellFormed()).replaceAll('%40', '@');
}
