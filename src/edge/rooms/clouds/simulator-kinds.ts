import { SIMULATED, type SimulatedKind } from '../../claude/kinds/simulator.ts';
import { awsKind } from './aws.ts';
import { bedrockKind } from './bedrock.ts';
import { foundryKind } from './foundry.ts';
import { vertexEndpoint } from './vertex.ts';

const { host, region, key: simulatedKey } = SIMULATED;

/** The clouds as the simulator plays them. */
export const simulatedClouds: Readonly<Record<string, SimulatedKind>> = {
  aws: {
    signs: true,
    open: (key) => {
      const base_url = `https://aws-external-anthropic.${region}.${host}`;
      return awsKind.open({ base_url, region, workspace: 'wrkspc_0' }, key);
    },
  },
  bedrock: {
    signs: true,
    open: (key) => bedrockKind.open({ base_url: `https://bedrock-mantle.${region}.${host}/anthropic`, region }, key),
  },
  vertex: {
    open: () => {
      const base_url = `https://aiplatform.${host}/v1`;
      return vertexEndpoint({ base_url, project: 'simulator', region: 'global' }, async () => simulatedKey);
    },
  },
  foundry: {
    open: () => foundryKind.open({ base_url: `https://simulator.services.ai.${host}/anthropic` }, simulatedKey),
  },
};
