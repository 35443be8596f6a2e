import { parseLongJsonInSteps } from '../../kit/http/read-json.ts';
import { parseBodyWithPause } from '../../money/admission/read-body.ts';
import type { StoredResourceKind } from '../versions/find-stored.ts';
import { type ParsedPrefix, parsePrefix } from './prefix.ts';

export const PREFIXES: StoredResourceKind<ParsedPrefix, '/prefixes'> = {
  kind: 'prefix',
  path: '/prefixes',
  read: async (bytes) => parsePrefix(await parseBodyWithPause(parseLongJsonInSteps(bytes))),
  memorySize: ({ memorySize }) => memorySize,
};
