/** The kinds of upstream that an entry of UPSTREAMS can name. */

import { awsKind } from '../../rooms/clouds/aws.ts';
import { bedrockKind } from '../../rooms/clouds/bedrock.ts';
import { foundryKind } from '../../rooms/clouds/foundry.ts';
import { vertexKind } from '../../rooms/clouds/vertex.ts';
import { anthropicKind } from './anthropic.ts';
import type { Kind } from './kind.ts';
import { simulatorKind } from './simulator.ts';

/** Whether the simulator is part of this bundle, as in upstream.ts. The deployed Worker does not contain it. */
declare const SLUICE_SIMULATOR: boolean | undefined;

export const KINDS: Readonly<Record<string, Kind>> = {
  anthropic: anthropicKind,
  aws: awsKind,
  bedrock: bedrockKind,
  vertex: vertexKind,
  foundry: foundryKind,
  ...(typeof SLUICE_SIMULATOR === 'undefined' || SLUICE_SIMULATOR ? { simulator: simulatorKind } : {}),
};
