import type { Room } from '../room.ts';

/** Claude at Bedrock, Vertex, Foundry and AWS. */
export const cloudsRoom: Room = { name: 'clouds' };
