import type { Identity } from '../../auth/identity/caller.ts';
import type { UpstreamObjectServices } from '../../claude/upstream-object.ts';
import type { Transcript } from '../history/storage/transcript.ts';

/** What a conversation's object shares with the modules that do its work. */
export interface ObjectContext extends UpstreamObjectServices {
  transcript: Transcript;
}

/** @returns what a conversation's object needs to call an account. */
export function createAccountRequest<Caller extends Pick<Identity, 'account'>>(
  { env, settings }: Pick<ObjectContext, 'env' | 'settings'>,
  identity: Caller,
) {
  return { identity, accounts: env, settings: settings() };
}
