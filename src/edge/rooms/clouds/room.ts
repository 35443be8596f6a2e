import type { Room } from '../room.ts';
import { awsKind } from './aws.ts';
import { bedrockKind } from './bedrock.ts';
import { foundryKind } from './foundry.ts';
import { simulatedClouds } from './simulator-kinds.ts';
import { vertexKind } from './vertex.ts';

/** Whether the simulator is part of this bundle, as in upstream.ts. */
declare const SLUICE_SIMULATOR: boolean | undefined;

/** Claude at Bedrock, Vertex, Foundry and AWS. */
export const cloudsRoom: Room = {
  name: 'clouds',
  kinds: { aws: awsKind, bedrock: bedrockKind, vertex: vertexKind, foundry: foundryKind },
  ...(typeof SLUICE_SIMULATOR === 'undefined' || SLUICE_SIMULATOR ? { simulatedKinds: simulatedClouds } : {}),
};
