/** The kinds of upstream that an entry of UPSTREAMS can name. */

import { anthropicKind } from './anthropic.ts';
import { awsKind } from './aws.ts';
import { bedrockKind } from './bedrock.ts';
import { foundryKind } from './foundry.ts';
import type { Kind } from './kind.ts';
import { simulatorKind } from './simulator.ts';
import { vertexKind } from './vertex.ts';

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
