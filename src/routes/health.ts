import { Hono } from 'hono';
import type { AppEnv } from '../auth/context.ts';
import type { Fetch } from '../claude/upstream.ts';
import { upstreamOf } from '../claude/upstream.ts';
import type { HealthAnswer } from '../schemas/answers/health.ts';

/** Liveness: the settings hold, and which upstream answers. */
export function healthRoutes(fetchUpstream?: Fetch) {
  return new Hono<AppEnv>().get('/health', (c) => {
    const { simulated } = upstreamOf(c.get('settings'), fetchUpstream);
    const answer: HealthAnswer = { status: 'ok', upstream: simulated ? 'simulator' : 'anthropic' };
    return c.json(answer);
  });
}
