import { parsingLong } from '../../kit/http/read-json.ts';
import { parsedInSteps } from '../../money/admission/read-body.ts';
import type { StoredKind } from '../versions/find-stored.ts';
import { type Prefix, readPrefix } from './prefix.ts';

export const PREFIXES: StoredKind<Prefix, '/prefixes'> = {
  kind: 'prefix',
  path: '/prefixes',
  read: async (bytes) => readPrefix(await parsedInSteps(parsingLong(bytes))),
  memorySize: ({ memorySize }) => memorySize,
};
