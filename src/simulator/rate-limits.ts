import { setMostRecent } from './store/set-most-recent.ts';

/** The limits of an account for a minute. The simulator reports them, and never rejects a request for them. */
const LIMITS_PER_MINUTE = { requests: 4000, input: 2_000_000, output: 400_000 };

interface MinuteUsage {
  /** Milliseconds since the epoch. */
  endsAt: number;
  requests: number;
  input: number;
  output: number;
}

/** Counts what accounts use in the current minute, for the headers of answers. */
export class RateLimits {
  readonly #minutes = new Map<string, MinuteUsage>();

  /**
   * Counts a request and returns the state of the account's limits.
   * @param used uncached input tokens, since what is read from the cache does not count, and output: fast mode has its own limits.
   * @param now milliseconds since the epoch.
   */
  countRequest(
    account: string,
    { input, output, isFast }: { input: number; output: number; isFast: boolean },
    now: number,
  ): Record<string, string> {
    const key = isFast ? `${account}:fast` : account;
    const current = this.#minutes.get(key);
    const minute =
      current !== undefined && current.endsAt > now
        ? current
        : { endsAt: now + 60_000, requests: 0, input: 0, output: 0 };
    minute.requests += 1;
    minute.input += input;
    minute.output += output;
    setMostRecent(this.#minutes, key, minute, 1_000);

    // RFC 3339 has no form for a year after 9999, so limit the reset time to the end of that year.
    const reset = `${new Date(Math.min(minute.endsAt, 253_402_300_799_000)).toISOString().slice(0, 19)}Z`;
    const headers: Record<string, string> = {};
    const addRateLimitHeaders = (name: string, limit: number, used: number): void => {
      headers[`anthropic-${name}-limit`] = String(limit);
      headers[`anthropic-${name}-remaining`] = String(Math.max(0, limit - used));
      headers[`anthropic-${name}-reset`] = reset;
    };
    const kind = isFast ? 'fast' : 'ratelimit';
    addRateLimitHeaders('ratelimit-requests', LIMITS_PER_MINUTE.requests, minute.requests);
    addRateLimitHeaders(
      'ratelimit-tokens',
      LIMITS_PER_MINUTE.input + LIMITS_PER_MINUTE.output,
      minute.input + minute.output,
    );
    addRateLimitHeaders(`${kind}-input-tokens`, LIMITS_PER_MINUTE.input, minute.input);
    addRateLimitHeaders(`${kind}-output-tokens`, LIMITS_PER_MINUTE.output, minute.output);
    return headers;
  }
}
