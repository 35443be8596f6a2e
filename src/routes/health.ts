import { Hono } from 'hono';
import type { Fetch } from '../claude/upstream.ts';
import { upstreamOf } from '../claude/upstream.ts';
import type { AppEnv } from '../env.ts';

/** Liveness: the settings hold, and which upstream answers. */
export function healthRoutes(fetchUpstream?: Fetch) {
  return new Hono<AppEnv>().get('/health', (c) => {
    const { simulated } = upstreamOf(c.get('settings'), fetchUpstream);
    return c.json({ status: 'ok', upstream: simulated ? 'simulator' : 'anthropic' });
  });
}
