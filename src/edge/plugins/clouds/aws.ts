import { baseUrl, createHostLabelSchema, createUrlSegmentSchema, stripVersion } from '../../claude/providers/fields.ts';
import { defineProvider } from '../../claude/providers/provider.ts';
import { filterHeadersForCloudService, toSignedPath } from '../../claude/providers/service-headers.ts';
import { parseAwsCredential } from './aws-key.ts';
import { getApiFeatureName } from './features.ts';

/** Claude Platform on AWS: the Claude API itself, with Amazon's access keys and bills. */
export const awsKind = defineProvider({
  fields: {
    base_url: baseUrl,
    region: createHostLabelSchema('us-west-2'),
    workspace: createUrlSegmentSchema('wrkspc_01ABC'),
  },
  createAdapter: ({ base_url, region, workspace }, secret) => {
    const base = stripVersion(base_url ?? `https://aws-external-anthropic.${region}.api.aws`);
    const key = parseAwsCredential(secret, { service: 'aws-external-anthropic', region });
    return {
      buildUrl: ({ path }) => base + (key.signs ? toSignedPath(path) : path),
      adapt: ({ headers }) => ({
        headers: { ...filterHeadersForCloudService(headers), 'anthropic-workspace-id': workspace },
        changes: {},
      }),
      createAuthorizationHeaders: key.createAuthorizationHeaders,
      lacks: ({ method, path }) => {
        const feature = getApiFeatureName(path);
        // SigV4 signs a hash of the whole body. Batches and files are streamed, so their hash is not known when the request
        // starts.
        const isLong = feature === 'message batches' || feature === 'files';
        if (key.signs && isLong && method === 'POST') return `${feature} with an access key in place of an API key`;
        return feature.startsWith('/v1/user_profiles') ? 'user profiles' : undefined;
      },
    };
  },
});
