import { isRetryable, SluiceError } from './errors.ts';
import type { GetToken, RenewingToken } from './renewing-token.ts';
import { retryWithBackoff } from './retry-patiently.ts';
import { type ClientOptions, Transport } from './transport.ts';

const MAX_RETRIES = 2;

export interface RenewingTokenOptions extends Omit<ClientOptions, 'token' | 'patience'> {
  /** Gets a new token, for example from your own backend. */
  token: GetToken;
}

export interface VisitorOptions extends Omit<RenewingTokenOptions, 'token'> {
  /** Gets a new answer of the Turnstile widget, whose action is `sluice`; absent if the edge does not use Turnstile. */
  turnstile?: () => string | Promise<string>;
}

/**
 * Makes a token that renews itself, for clients other than this one. (`createClient` does the same with its `token`.)
 *
 * @example
 * const token = renewingToken({ baseURL: 'https://edge.example.com', token: fetchToken });
 * show(await token.get());
 */
export function renewingToken({ token, ...options }: RenewingTokenOptions): RenewingToken {
  return new Transport(options).createRenewingToken(token);
}

/**
 * Makes the token of a visitor, who has no login. The edge makes a new account for it at the first request, and again when
 * its session has ended.
 *
 * @example
 * const token = visitor({ baseURL: 'https://edge.example.com' });
 * const sluice = createClient({ baseURL: 'https://edge.example.com', token });
 * show(sluice);
 */
export function visitor({ turnstile, ...options }: VisitorOptions): RenewingToken {
  const transport = new Transport(options);
  const fetchVisitorToken = async () => {
    const body = { turnstile: await turnstile?.() };
    // The edge returns the same visitor for the same Turnstile token, so it is safe to repeat a request whose response was
    // lost.
    const requestTokenOnce = () =>
      transport.requestJsonWithTimeout<{ token: string }>('/tokens/visitor', { method: 'POST', body });
    return (await retryWithBackoff(requestTokenOnce, isRetryable, MAX_RETRIES)).token;
  };
  return transport.createRenewingToken(() =>
    fetchVisitorToken().catch((thrown: unknown) => {
      // A 400 means that the Turnstile token has expired or was used before, so get a new one and try once more.
      if (turnstile && thrown instanceof SluiceError && thrown.status === 400) return fetchVisitorToken();
      throw thrown;
    }),
  );
}
