import type { StoredKind } from '../versions/find-stored.ts';
import { type Prefix, readPrefix } from './prefix.ts';

/** How prefixes are stored in versions. */
export const PREFIXES: StoredKind<Prefix> = {
  kind: 'prefix',
  path: '/prefixes',
  read: readPrefix,
  memorySize: ({ memorySize }) => memorySize,
};
