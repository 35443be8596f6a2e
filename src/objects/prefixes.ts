/** Where requests find prefixes: in the isolate's memory, in KV, and in the objects of those who have stored them. */
import { type Prefix, readPrefix } from '../claude/prefix.ts';
import { type ApiError, notFound } from '../errors.ts';
import { DEPLOYMENT } from '../schemas/identity.ts';
import { parseRef, type VersionRef } from '../schemas/versions.ts';
import type { Settings } from '../settings.ts';
import { type Found, findVersion, VersionMemory } from '../store/versions.ts';
import { callAccount } from './metering.ts';
import type { AccountBinding } from './namespace.ts';

export const PREFIX = 'prefix';

/** Who looks for a prefix, and where. */
export interface PrefixReader {
  account: string;
  accounts: AccountBinding;
  store: KVNamespace;
  settings: Settings;
}

const memories = new WeakMap<Settings, VersionMemory<Prefix>>();

/** @returns what this isolate remembers of a deployment's prefixes. */
export function prefixMemory(settings: Settings): VersionMemory<Prefix> {
  let memory = memories.get(settings);
  if (!memory) {
    memory = new VersionMemory();
    memories.set(settings, memory);
  }
  return memory;
}

/**
 * Finds a prefix as an account sees it: its own before the deployment's, and nobody else's.
 *
 * @throws ApiError 503 while neither KV nor the owner's object can be asked
 */
export async function findPrefix(
  { account, accounts, store, settings }: PrefixReader,
  ref: string | VersionRef,
  owners: readonly string[] = [account, DEPLOYMENT],
): Promise<Found<Prefix> | undefined> {
  const parsed = typeof ref === 'string' ? parseRef(ref) : ref;
  if (!parsed) return undefined;
  return await findVersion(
    {
      kind: PREFIX,
      store,
      memory: prefixMemory(settings),
      owners,
      ask: ({ kind, owner, name }, hash) =>
        callAccount({ identity: { account: owner }, accounts, settings }, (object) =>
          object.readVersion({ kind, name, hash }),
        ),
      read: readPrefix,
    },
    parsed,
  );
}

/** @returns the 404 for a name or a version that there is not. */
export function unknownPrefix(ref: string): ApiError {
  return notFound(`There is no prefix ${ref}. Store one with PUT /prefixes/:name, or list them with GET /prefixes.`);
}
