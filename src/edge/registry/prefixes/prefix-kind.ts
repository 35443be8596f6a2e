import { parseLongInSteps } from '../../kit/http/read-json.ts';
import { parseInSteps } from '../../money/admission/read-body.ts';
import type { StoredKind } from '../versions/find-stored.ts';
import { type Prefix, parsePrefix } from './prefix.ts';

export const PREFIXES: StoredKind<Prefix, '/prefixes'> = {
  kind: 'prefix',
  path: '/prefixes',
  read: async (bytes) => parsePrefix(await parseInSteps(parseLongInSteps(bytes))),
  memorySize: ({ memorySize }) => memorySize,
};
