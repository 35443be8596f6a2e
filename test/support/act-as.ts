import { onTestFinished } from 'vitest';
import { token } from '#page/edge/credential.ts';

/** What follows is somebody's: the page reads a token, and leaves it to the edge to verify it. */
export function actAs(sub: string, scope: string): void {
  token.value = ['{}', JSON.stringify({ sub, scope }), ''].map(btoa).join('.');
  onTestFinished(() => {
    token.value = undefined;
  });
}
