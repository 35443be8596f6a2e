/** Keeps the credential, and what belongs to it. */
import { type Signal, signal } from '@preact/signals';

const TOKEN_KEY = 'sluice-token';

/** The credential. It is kept only for the session of this tab. */
export const token = signal(sessionStorage.getItem(TOKEN_KEY) ?? undefined);
/** `gate`: the page asks for a token. */
export const connectionState = signal<'starting' | 'gate' | 'ready' | 'unreachable'>('starting');

/** Replaces the credential. @param next undefined forgets it */
export function storeToken(next: string | undefined): void {
  if (next === undefined) sessionStorage.removeItem(TOKEN_KEY);
  else sessionStorage.setItem(TOKEN_KEY, next);
  token.value = next;
}

/** Creates a signal for data that was read with the token. Another token, or none, resets it. */
export function createTokenSignal<T>(initial: T): Signal<T> {
  const created = signal(initial);
  token.subscribe(() => {
    created.value = initial;
  });
  return created;
}
