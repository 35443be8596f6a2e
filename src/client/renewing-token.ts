import { isSafeToRetryRead, parseJsonObject, SluiceError } from './errors.ts';

/** How long a token that could not be replaced is used before the next attempt, in milliseconds. */
const RENEWAL_RETRY_MS = 5_000;
/**
 * The characters of a credential (RFC 6750); some issuers have `=` in the middle. Anything else is no header's value, or no
 * token.
 */
const CREDENTIAL_PATTERN = /^[\w.~+/=-]+$/;

/** Gets a token from its issuer. */
export type GetToken = () => string | Promise<string>;

interface TokenClaims {
  iat?: number;
  exp?: number;
  session?: { end: number };
}

interface CachedToken {
  token: string;
  /** The time from which it is replaced, in milliseconds since 1970; NaN for a token without an expiry. */
  due: number;
  /** The time from which the edge rejects it, in the same form. */
  end: number;
  isRenewable: boolean;
}

/**
 * A token that is got when it is first needed, once for all who ask meanwhile. When it is needed again and ends soon, it is
 * renewed at the edge while its session lasts; after that it is got anew. There is no timer.
 *
 * @example
 * const token = renewingToken({ baseURL: 'https://edge.example.com', token: fetchToken });
 * const headers = { authorization: `Bearer ${await token.get()}` };
 * show((await fetch('https://edge.example.com/usage', { headers })).status);
 */
export class RenewingToken {
  readonly #getToken: GetToken;
  readonly #renew: (token: string) => Promise<string>;
  #current: Promise<CachedToken> | undefined;
  /** @internal makes `structuredClone` fail, whose copy would have no methods. Most engines show this text in the error. */
  protected readonly uncloneable = () =>
    'A token cannot be cloned or sent to a worker. Send the text that `get` returns.';

  /** @param renew requests the next token of a session from the edge */
  constructor(getToken: GetToken, renew: (token: string) => Promise<string>) {
    this.#getToken = getToken;
    this.#renew = renew;
  }

  /** Keeps Vue from wrapping it in a proxy, which has no access to private fields. */
  get [Symbol.toStringTag](): string {
    return 'RenewingToken';
  }

  /**
   * Gets the current token.
   *
   * @param refused a token that the edge has rejected, which is not returned again
   * @throws SluiceError if there is none
   * @example
   * const token = renewingToken({ baseURL: 'https://edge.example.com', token: fetchToken });
   * show((await token.get()) === (await token.get()));
   */
  async get(refused?: string): Promise<string> {
    const current = this.#current ?? this.#setCurrentToken(this.#fetchToken());
    const held = await current;
    const isRefused = held.token === refused;
    if (!isRefused && !(Date.now() >= held.due)) return held.token;
    // Another request may have begun to replace this token. Then use its result instead of renewing again.
    const isOurs = this.#current === current;
    const next = isOurs
      ? this.#setCurrentToken(isRefused ? this.#fetchToken() : this.#replaceToken(held))
      : this.#current;
    return (await (next ?? this.#setCurrentToken(this.#fetchToken()))).token;
  }

  #setCurrentToken(coming: Promise<CachedToken>): Promise<CachedToken> {
    this.#current = coming;
    // If fetching the token fails, forget the attempt, so that the next request fetches again.
    coming.catch(() => {
      if (this.#current === coming) this.#current = undefined;
    });
    return coming;
  }

  async #fetchToken(): Promise<CachedToken> {
    try {
      return parseTokenLifetime(await this.#getToken());
    } catch (cause) {
      if (cause instanceof SluiceError) throw cause;
      const reason = cause instanceof Error ? ` (${cause.message})` : '';
      throw new SluiceError('authentication_error', `There is no token${reason}.`, { cause });
    }
  }

  async #replaceToken(held: CachedToken): Promise<CachedToken> {
    try {
      return held.isRenewable ? parseTokenLifetime(await this.#renew(held.token)) : await this.#fetchToken();
    } catch (thrown) {
      if (held.isRenewable && !isSafeToRetryRead(thrown)) return await this.#fetchToken();
      if (Date.now() >= held.end) throw thrown;
      // The current token is still valid for a while, so keep it and retry the renewal later.
      return { ...held, due: Date.now() + RENEWAL_RETRY_MS };
    }
  }
}

/**
 * Checks a text that is to be sent as a credential. A login that has expired often returns a page instead of a token. A request
 * with that page would look like a lost connection, which is retried.
 *
 * @throws SluiceError `authentication_error` that describes the value; it does not contain the text, which may be a secret
 */
export function validateTokenText(text: unknown): string {
  const token = typeof text === 'string' ? text.trim() : '';
  if (CREDENTIAL_PATTERN.test(token)) return token;
  const it =
    typeof text !== 'string' ? `is ${text === null ? text : typeof text}` : token ? 'is not made like one' : 'is empty';
  const what = token[0] === '<' ? 'is a page of HTML: has the login ended?' : `${it}.`;
  throw new SluiceError('authentication_error', `There is no token: what came in its place ${what}`);
}

/**
 * Reads in a token when to replace it. A token that was issued a while ago ends sooner; but where the clock of this device is
 * wrong, only the times of its issuer are compared. An expired token cannot be renewed, so that is done early: a user who
 * pauses for half of its lifetime does not lose the session.
 */
function parseTokenLifetime(text: unknown): CachedToken {
  const token = validateTokenText(text);
  const now = Date.now();
  const { exp = Number.NaN, iat = Number.NaN, session } = parseClaims(token);
  const left = exp * 1_000 - now;
  const life = (exp - iat) * 1_000;
  const holds = left > 0 && !(left >= life) ? left : life;
  const isRenewable = (session?.end ?? 0) > exp;
  return { token, isRenewable, due: now + holds * (isRenewable ? 0.5 : 0.9), end: now + holds };
}

/** @returns the claims of a token; no claims if it is no JWT */
function parseClaims(token: string): TokenClaims {
  const [, claims = ''] = token.split('.');
  try {
    return parseJsonObject<TokenClaims>(atob(claims.replaceAll('-', '+').replaceAll('_', '/'))) ?? {};
  } catch {
    return {};
  }
}
