import type { Bindings } from '../durable/bindings.ts';
import type { Identity } from '../identity/caller.ts';
import type { Settings } from '../settings/settings.ts';
import type { Upstream } from '../upstream/upstream.ts';
import type { Transcript } from './storage/transcript.ts';

/** What a conversation's object shares with the modules that do its work. */
export interface ObjectContext {
  transcript: Transcript;
  env: Bindings;
  settings(): Settings;
  upstream(): Upstream;
  /** The clock; milliseconds since 1970. */
  now(): number;
  waitUntil(work: Promise<unknown>): void;
}

/** @returns how a conversation's object calls an account. */
export function accountRequestOf<Caller extends Pick<Identity, 'account'>>(
  { env, settings }: Pick<ObjectContext, 'env' | 'settings'>,
  identity: Caller,
) {
  return { identity, accounts: env, settings: settings() };
}
