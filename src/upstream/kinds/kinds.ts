/** The kinds of upstream that an entry of UPSTREAMS can name. */

import { anthropicKind } from './anthropic.ts';
import type { Kind } from './kind.ts';
import { simulatorKind } from './simulator.ts';

export const KINDS: Readonly<Record<string, Kind>> = {
  anthropic: anthropicKind,
  simulator: simulatorKind,
};
