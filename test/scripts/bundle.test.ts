import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { exportJWK, generateKeyPair, type JWTPayload, SignJWT } from 'jose';
import { expect, onTestFinished, test, vi } from 'vitest';
import { bundleWorker } from '../../scripts/bundle.ts';
import { parseSettings } from '../../src/edge/gate/settings/settings.ts';
import * as ofSource from '../fixtures/users-of-packages.ts';
import { SECRET } from '../support/tokens.ts';

const NOW = Date.parse('2026-11-20T12:00:00Z');
const SECONDS = NOW / 1_000;
const PROVIDER = {
  JWKS_URL: 'https://login.example/keys',
  JWT_ISSUER: 'https://login.example',
  JWT_AUDIENCE: 'sluice',
  DEFAULT_LIMITS: '{"usd_per_day":1}',
};
const CLAIMS = { sub: 'alice', iss: PROVIDER.JWT_ISSUER, aud: 'sluice', iat: SECONDS, exp: SECONDS + 60 };

async function bundled(): Promise<typeof ofSource> {
  const folder = await mkdtemp(join(tmpdir(), 'sluice-bundle-'));
  onTestFinished(() => rm(folder, { recursive: true, force: true }));
  const { code } = await bundleWorker({}, 'test/fixtures/users-of-packages.ts');
  const file = join(folder, 'users.mjs');
  await writeFile(file, code.replace(/\n\/\/# sourceMappingURL=.*/, ''));
  return (await import(pathToFileURL(file).href)) as typeof ofSource;
}

/** @returns what a promise comes to, also where it fails. */
async function outcomeOf(made: Promise<unknown>): Promise<unknown> {
  return await made.catch(({ message, status }: { message: string; status?: number }) => ({ message, status }));
}

test('without the parts that nothing calls, packages sign and verify as the whole ones do', async () => {
  vi.useFakeTimers({ now: NOW, toFake: ['Date'] });
  onTestFinished(() => void vi.useRealTimers());
  const ofBundle = await bundled();
  const both = [ofSource, ofBundle] as const;

  for (const secret of [`${'A'.repeat(20)}:${'b/+='.repeat(5)}`, `${'A'.repeat(20)}:${'c'.repeat(40)}:c2Vzc2lvbg==`])
    for (const body of [undefined, 'a body', new Uint8Array([1, 2, 3])]) {
      const url = "https://bedrock.example/model/a%3Ab/invoke?z=1&a=%20'x'&a=2";
      const request = { method: 'POST', url, headers: { 'x-amz-extra': ' two  words ', 'content-type': 'a' }, body };
      const [source, bundle] = await Promise.all(
        both.map(({ readAwsKey }) =>
          readAwsKey(secret, { service: 'bedrock', region: 'eu-west-1' }).authorize(request as never),
        ),
      );
      expect(source).toMatchObject({ authorization: expect.stringContaining('AWS4-HMAC-SHA256') });
      expect(bundle).toEqual(source);
    }

  const settings = () => parseSettings({ SIGNING_SECRET: SECRET, ...PROVIDER });
  const minted = await Promise.all(
    both.map(({ mintToken }) => mintToken(SECRET, { account: 'alice', scopes: ['messages'], expiresIn: 60 })),
  );
  const tokens = minted.flatMap(({ token }) => [token, `${token}x`, token.replace(/\..*\./, '.e30.')]);
  const keys: object[] = [];
  for (const alg of ['RS256', 'PS512', 'ES256', 'EdDSA']) {
    const { privateKey, publicKey } = await generateKeyPair(alg, { extractable: true });
    keys.push({ ...(await exportJWK(publicKey)), kid: alg });
    const signed = async (claims: JWTPayload, header = {}) =>
      await new SignJWT(claims).setProtectedHeader({ alg, kid: alg, ...header }).sign(privateKey);
    tokens.push(
      ...(await Promise.all([
        signed(CLAIMS),
        signed({ ...CLAIMS, exp: SECONDS - 1 }),
        signed({ ...CLAIMS, nbf: SECONDS + 9 }),
        signed({ ...CLAIMS, iss: 'https://other.example' }),
        signed({ ...CLAIMS, aud: ['other', 'sluice'] }),
        signed({ ...CLAIMS, aud: 'other' }),
        signed({ sub: 'alice', exp: SECONDS + 60 }),
        signed(CLAIMS, { kid: 'another' }),
      ])),
    );
  }
  vi.stubGlobal('fetch', async () => Response.json({ keys }));
  onTestFinished(() => void vi.unstubAllGlobals());
  const outcomes = { accepted: 0, refused: 0 };
  for (const token of tokens) {
    const [source, bundle] = await Promise.all(both.map((one) => outcomeOf(one.verifyToken(token, settings(), NOW))));
    expect(bundle).toEqual(source);
    outcomes[source && Object.hasOwn(source, 'account') ? 'accepted' : 'refused'] += 1;
  }
  // Of each provider's key two are good.
  expect(outcomes).toEqual({ accepted: 2 + 4 * 2, refused: 4 + 4 * 6 });
});
