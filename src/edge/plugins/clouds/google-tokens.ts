/** Gets access tokens for a Google service account. */

import { importPKCS8, SignJWT } from 'jose';
import { type AuthorizationContext, InvalidKeyError } from '../../claude/providers/provider.ts';
import { httpUrl } from '../../config/setting-schemas.ts';
import { createUpstreamKeyRejectedError } from '../../kit/http/errors.ts';
import { isLoopback } from '../../kit/http/headers/hosts.ts';
import { registerSecrets } from '../../kit/http/secrets.ts';
import * as z from '../../kit/http/zod.ts';
import { parseJsonOrUndefined } from '../../kit/json/parse.ts';

const SCOPE = 'https://www.googleapis.com/auth/cloud-platform';
const GRANT = 'urn:ietf:params:oauth:grant-type:jwt-bearer';
const LIFETIME_SECONDS = 3_600;
/** How long before its end a token is renewed; milliseconds, like all below. */
const RENEW_BEFORE_MS = 300_000;
/** A token that ends sooner than this might have ended when the request arrives. */
const LEAST_MS = 10_000;
/** A renewal that has not ended after this time belonged to a request that the platform has ended. */
const RENEWAL_MS = 30_000;
const ASK_MS = 10_000;

const serviceAccount = z.object({
  client_email: z.string().check(z.minLength(1)),
  private_key: z.string().check(z.regex(/^-----BEGIN PRIVATE KEY-----\s/)),
  token_uri: httpUrl.check(z.refine((url) => url.startsWith('https:') || isLoopback(url))),
});

const tokenAnswer = z.object({ access_token: z.string().check(z.minLength(1)), expires_in: z.number() });

interface GoogleAccessToken {
  text: string;
  /** Milliseconds since 1970. */
  endsAt: number;
}

/** The access tokens of one service account. An isolate keeps only the newest one. */
export class GoogleAccessTokenCache {
  readonly #account: z.output<typeof serviceAccount>;
  #key: CryptoKey | undefined;
  #token: GoogleAccessToken | undefined;
  /** When the running renewal began; milliseconds since 1970. */
  #renewingSince = 0;

  /**
   * @param secret the JSON of a service account's key
   * @throws InvalidKeyError for anything else
   */
  constructor(secret: string) {
    const { data } = serviceAccount.safeParse(parseJsonOrUndefined(secret));
    if (!data) {
      throw new InvalidKeyError(
        "must be the JSON of a service account's key, with client_email, private_key and token_uri",
      );
    }
    this.#account = data;
  }

  /**
   * Finds a token that is valid for at least ten seconds. If it ends within five minutes, one request renews it in the
   * background, while the others use the old one. If there is no valid token, each request fetches its own, because a request
   * must not wait for a promise of another request.
   *
   * @throws ApiError if Google rejects the service account
   * @throws Error if Google does not respond
   */
  async getAccessToken(by: AuthorizationContext): Promise<string> {
    const now = Date.now();
    const token = this.#token;
    if (token === undefined || token.endsAt - now < LEAST_MS) return await this.#requestAccessToken(by, by.signal);
    if (token.endsAt - now < RENEW_BEFORE_MS && now - this.#renewingSince > RENEWAL_MS) {
      this.#renewingSince = now;
      // Ignore a failed renewal: the old token is still valid, and a request after half a minute tries again.
      by.waitUntil(this.#requestAccessToken(by).catch(() => undefined));
    }
    return token.text;
  }

  /** Forgets a rejected token, so that the next request fetches another one. */
  dropAccessToken(): void {
    this.#token = undefined;
  }

  async #requestAccessToken(
    { fetch: ask = (url, init) => fetch(url, init) }: AuthorizationContext,
    signal?: AbortSignal,
  ): Promise<string> {
    const { token_uri } = this.#account;
    const time = AbortSignal.timeout(ASK_MS);
    const askedAt = Date.now();
    const response = await ask(token_uri, {
      method: 'POST',
      headers: { 'content-type': 'application/x-www-form-urlencoded' },
      body: new URLSearchParams({ grant_type: GRANT, assertion: await this.#signAssertion(askedAt) }).toString(),
      redirect: 'manual',
      signal: signal ? AbortSignal.any([signal, time]) : time,
    });
    const text = await response.text();
    if (response.status >= 400 && response.status < 500 && response.status !== 429)
      throw createUpstreamKeyRejectedError();
    const { data } = tokenAnswer.safeParse(response.ok ? parseJsonOrUndefined(text) : undefined);
    if (!data) throw new Error(`no access token: ${response.status}`);
    registerSecrets(`a token of ${this.#account.client_email}`, [data.access_token, this.#token?.text ?? '']);
    this.#token = { text: data.access_token, endsAt: askedAt + data.expires_in * 1_000 };
    return data.access_token;
  }

  /** @returns the signed claim with which a token is requested. */
  async #signAssertion(now: number): Promise<string> {
    const { client_email, private_key, token_uri } = this.#account;
    this.#key ??= await importPKCS8(private_key, 'RS256').catch(() => {
      // Do not forward the runtime's error, because it might contain the key.
      throw createUpstreamKeyRejectedError();
    });
    const iat = Math.floor(now / 1_000);
    return await new SignJWT({ scope: SCOPE })
      .setProtectedHeader({ alg: 'RS256' })
      .setIssuer(client_email)
      .setAudience(token_uri)
      .setIssuedAt(iat)
      .setExpirationTime(iat + LIFETIME_SECONDS)
      .sign(this.#key);
  }
}
