import * as z from '../../kit/http/zod.ts';
import { awsKind } from '../../rooms/clouds/aws.ts';
import { bedrockKind } from '../../rooms/clouds/bedrock.ts';
import { foundryKind } from '../../rooms/clouds/foundry.ts';
import { vertexEndpoint } from '../../rooms/clouds/vertex.ts';
import { anthropicKind } from './anthropic.ts';
import { defineKind, type Endpoint } from './kind.ts';

const SIMULATED_HOST = 'simulator.invalid';
const SIMULATED_REGION = 'us-east-1';
const SIMULATED_KEY = 'simulator';
/** An access key to sign with. The simulator does not know the secret, and checks everything else. */
const SIMULATED_SIGNER = 'AKIASIMULATOR0000000:the/secret/of/the/simulator/is/no/secret';

/** The kinds that the simulator can answer for, each opened with a key that is not a real one. */
const SIMULATED = {
  anthropic: () => anthropicKind.open({ base_url: `https://${SIMULATED_HOST}` }, SIMULATED_KEY),
  aws: (key: string) =>
    awsKind.open(
      {
        base_url: `https://aws-external-anthropic.${SIMULATED_REGION}.${SIMULATED_HOST}`,
        region: SIMULATED_REGION,
        workspace: 'wrkspc_0',
      },
      key,
    ),
  bedrock: (key: string) =>
    bedrockKind.open(
      { base_url: `https://bedrock-mantle.${SIMULATED_REGION}.${SIMULATED_HOST}/anthropic`, region: SIMULATED_REGION },
      key,
    ),
  vertex: () =>
    vertexEndpoint(
      { base_url: `https://aiplatform.${SIMULATED_HOST}/v1`, project: 'simulator', region: 'global' },
      async () => SIMULATED_KEY,
    ),
  foundry: () =>
    foundryKind.open({ base_url: `https://simulator.services.ai.${SIMULATED_HOST}/anthropic` }, SIMULATED_KEY),
} satisfies Record<string, (key: string) => Endpoint>;

/** The built-in simulator. It answers without a key, in development only. It can play any other kind. */
export const simulatorKind = defineKind({
  fields: {
    as: z._default(
      z.enum(Object.keys(SIMULATED) as (keyof typeof SIMULATED)[], {
        error: () => `must be one of ${Object.keys(SIMULATED).join(', ')}`,
      }),
      'anthropic',
    ),
    signs: z._default(z.boolean(), false),
  },
  fault: ({ as, signs }) => (signs && as !== 'aws' && as !== 'bedrock' ? 'signs as aws or bedrock only' : undefined),
  keyless: true,
  simulated: true,
  open: ({ as, signs }) => SIMULATED[as](signs ? SIMULATED_SIGNER : SIMULATED_KEY),
});
