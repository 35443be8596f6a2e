import type { AppEnv } from '../auth/context.ts';
import { Hono } from '../http/hono.ts';
import type { Fetch } from '../upstream/upstream.ts';
import { upstreamOf } from '../upstream/upstream.ts';
import type { HealthAnswer } from './health-answers.schema.ts';

/** Answers whether the settings are valid, and which upstream answers. */
export function healthRoutes(fetchUpstream?: Fetch) {
  return new Hono<AppEnv>().get('/health', (c) => {
    const { simulated } = upstreamOf(c.get('settings'), fetchUpstream);
    const answer: HealthAnswer = { status: 'ok', upstream: simulated ? 'simulator' : 'anthropic' };
    return c.json(answer);
  });
}
