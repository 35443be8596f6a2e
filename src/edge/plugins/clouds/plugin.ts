import type { Plugin } from '../plugin.ts';
import { awsKind } from './aws.ts';
import { bedrockKind } from './bedrock.ts';
import { foundryKind } from './foundry.ts';
import { vertexKind } from './vertex.ts';

/** Claude at Bedrock, Vertex, Foundry and AWS. */
export const clouds: Plugin = {
  name: 'clouds',
  providers: { aws: awsKind, bedrock: bedrockKind, vertex: vertexKind, foundry: foundryKind },
};
