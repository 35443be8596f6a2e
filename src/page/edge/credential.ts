import { signal } from '@preact/signals';

const TOKEN_KEY = 'sluice-token';

/** The credential. It is kept only for the session of this tab. */
export const token = signal(sessionStorage.getItem(TOKEN_KEY) ?? undefined);

/** Replaces the credential. @param next undefined forgets it */
export function storeToken(next: string | undefined): void {
  if (next === undefined) sessionStorage.removeItem(TOKEN_KEY);
  else sessionStorage.setItem(TOKEN_KEY, next);
  token.value = next;
}
