import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { PING_MS, TurnTimer } from '#edge/conversations/turn/turn-timer.ts';
import type { ApiError } from '#edge/kit/http/errors.ts';

const SETTINGS = { STREAM_IDLE_MS: 60_000, UPSTREAM_TIMEOUT_MS: 60_000 };
const timedOut = () => new Error('silent') as ApiError;

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

test.each(['touch', 'onSilence', 'onFirstTick'] as const)(
  'TurnTimer still pings and times out after one failed write in `%s`',
  (where) => {
    let failures = 1;
    const failIn = (what: string) => {
      if (what === where && failures-- > 0) throw new Error('the write failed');
    };
    const heard: string[] = [];
    const publisher = {
      lastShownAt: Date.now(),
      touch: () => {
        failIn('touch');
        return Number.POSITIVE_INFINITY;
      },
    };
    const timer = new TurnTimer(publisher, SETTINGS, {
      onTimeout: () => void heard.push('timeout'),
      onSilence: () => {
        failIn('onSilence');
        publisher.lastShownAt = Date.now();
        heard.push('ping');
      },
      onFirstTick: () => {
        failIn('onFirstTick');
        return true;
      },
      onFailure: ({ message }: Error) => void heard.push(message),
    });
    timer.startTimer();
    timer.setTimeLimit(SETTINGS.STREAM_IDLE_MS, timedOut);
    vi.advanceTimersByTime(2 * PING_MS);
    expect(heard).toContain('the write failed');
    expect(heard).toContain('ping');
    vi.advanceTimersByTime(SETTINGS.STREAM_IDLE_MS);
    expect(heard.at(-1)).toBe('timeout');
    expect(vi.getTimerCount()).toBe(0);
  },
);
