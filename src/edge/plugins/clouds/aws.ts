import { baseUrl, hostLabelSchema, segmentSchema, stripVersion } from '../../claude/providers/fields.ts';
import { defineProvider } from '../../claude/providers/provider.ts';
import { toServiceHeaders, toSignedPath } from '../../claude/providers/service-headers.ts';
import { readAwsKey } from './aws-key.ts';
import { featureOf } from './features.ts';

/** Claude Platform on AWS: the Claude API itself, with Amazon's access keys and bills. */
export const awsKind = defineProvider({
  fields: { base_url: baseUrl, region: hostLabelSchema('us-west-2'), workspace: segmentSchema('wrkspc_01ABC') },
  open: ({ base_url, region, workspace }, secret) => {
    const base = stripVersion(base_url ?? `https://aws-external-anthropic.${region}.api.aws`);
    const key = readAwsKey(secret, { service: 'aws-external-anthropic', region });
    return {
      address: ({ path }) => base + (key.signs ? toSignedPath(path) : path),
      adapt: ({ headers }) => ({
        headers: { ...toServiceHeaders(headers), 'anthropic-workspace-id': workspace },
        changes: {},
      }),
      authorize: key.authorize,
      lacks: ({ method, path }) => {
        const feature = featureOf(path);
        // These go up as they come in, but a signature would need all bytes before the first one is sent.
        const isLong = feature === 'message batches' || feature === 'files';
        if (key.signs && isLong && method === 'POST') return `${feature} with an access key in place of an API key`;
        return feature.startsWith('/v1/user_profiles') ? 'user profiles' : undefined;
      },
    };
  },
});
