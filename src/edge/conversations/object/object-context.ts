import type { Identity } from '../../auth/identity/caller.ts';
import type { UpstreamObjectServices } from '../../claude/upstream-object.ts';
import type { Transcript } from '../history/storage/transcript.ts';

/** The services of a conversation's object that its modules share. */
export interface ObjectContext extends UpstreamObjectServices {
  transcript: Transcript;
}

/** @returns the arguments with which a conversation's object calls an account. */
export function createAccountRequest<Caller extends Pick<Identity, 'account'>>(
  { env, settings }: Pick<ObjectContext, 'env' | 'settings'>,
  identity: Caller,
) {
  return { identity, accounts: env, settings: settings() };
}
