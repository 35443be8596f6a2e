import { baseUrl, hostLabel, segment, withoutVersion } from '../../claude/providers/fields.ts';
import { defineKind } from '../../claude/providers/kind.ts';
import { signedPath, toService } from '../../claude/providers/service-headers.ts';
import { readAwsKey } from './aws-key.ts';
import { featureOf } from './features.ts';

/** Claude Platform on AWS: the Claude API itself, with Amazon's access keys and bills. */
export const awsKind = defineKind({
  fields: { base_url: baseUrl, region: hostLabel('us-west-2'), workspace: segment('wrkspc_01ABC') },
  open: ({ base_url, region, workspace }, secret) => {
    const base = withoutVersion(base_url ?? `https://aws-external-anthropic.${region}.api.aws`);
    const key = readAwsKey(secret, { service: 'aws-external-anthropic', region });
    return {
      address: ({ path }) => base + (key.signs ? signedPath(path) : path),
      adapt: ({ headers }) => ({
        headers: { ...toService(headers), 'anthropic-workspace-id': workspace },
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
