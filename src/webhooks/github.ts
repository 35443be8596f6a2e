import { sign, verify as verifyBody } from '@octokit/webhooks-methods';
import { exactText, type Verify } from './signature.ts';

/** GitHub signs the body alone; the delivery's id keeps it from being taken twice. */
export const verifyGithub: Verify = async ({ headers, bytes }, secrets) => {
  const signature = headers.get('x-hub-signature-256');
  if (signature === null || !/^sha256=[0-9a-f]{64}$/.test(signature)) return 'missing';
  const text = exactText(bytes);
  // The library takes no empty text.
  if (!text) return 'forged';
  for (const secret of secrets) if (await verifyBody(secret, text, signature)) return 'valid';
  return 'forged';
};

/** @returns the headers that GitHub sends with a body. */
export async function signGithub(body: string, secret: string, event: string, delivery: string): Promise<Headers> {
  return new Headers({
    'x-github-event': event,
    'x-github-delivery': delivery,
    'x-hub-signature-256': await sign(secret, body),
  });
}
