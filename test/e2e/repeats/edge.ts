import { type Edge, startEdge } from '#test/support/edge.ts';
import { SECRET } from '#test/support/tokens.ts';
import type { Send } from './rows.ts';
import { answeringUpstream } from './upstream.ts';

/** An edge whose requests are measured. */
export interface MeasuredEdge extends Edge {
  send: Send;
}

/** Starts the built Worker before an upstream that repeats itself as it is asked to. */
export async function startMeasuredEdge(script: string): Promise<MeasuredEdge> {
  const upstream = await answeringUpstream();
  const edge = await startEdge(script, {
    UPSTREAM: 'anthropic',
    SIGNING_SECRET: SECRET,
    ANTHROPIC_API_KEY: 'sk-ant-of-the-deployment',
    ANTHROPIC_BASE_URL: upstream.url,
  });
  return {
    ...edge,
    send: async ({ path, method = 'POST', body, headers = {}, status = 200 }) => {
      const sent = body === undefined || typeof body === 'string' ? (body ?? null) : JSON.stringify(body);
      const asked = { 'content-type': 'application/json', ...headers };
      const response = await fetch(edge.url + path, { method, headers: asked, body: sent });
      const text = await response.text();
      upstream.receivedRequests.length = 0;
      if (response.status !== status) throw new Error(`${method} ${path}: ${response.status} ${text.slice(0, 400)}`);
      return text;
    },
    stop: async () => {
      await edge.stop();
      await upstream.stop();
    },
  };
}
