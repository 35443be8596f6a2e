import { bundleWorker } from './bundle-worker.ts';
import { startEdgeWithPage } from './edge.ts';
import { startUpstream } from './upstream.ts';

declare module 'vitest' {
  interface ProvidedContext {
    /** Whom to ask for the edge with the page. */
    pageEdge: string;
  }
}

const GITHUB_SECRET = 'the secret of the tests';
const TOOL_SIGNING_SECRET = `whsec_${btoa('0123456789abcdef0123456789abcdef')}`;

/** The edge that all tests of the page share. */
export interface PageEdge {
  url: string;
  /** A shop whose addresses tools may call: it gives back what was ordered, and is closed at /closed. */
  shopUrl: string;
}

/**
 * Starts the edge with the page. It answers at once, and without thinking: who looks at how an answer comes says how, by
 * `simulate`, and so does who has it think.
 */
export async function startPageEdge(): Promise<PageEdge & { stop(): Promise<void> }> {
  const shop = await startUpstream(({ path, body }, response) => {
    if (path === '/closed') response.writeHead(503).end('The shop is closed.');
    else response.writeHead(200, { 'content-type': 'application/json' }).end(`{"ordered":${body.toString() || '{}'}}`);
  });
  const quick = { SIMULATOR_TTFT_MS: '0', SIMULATOR_TOKENS_PER_SECOND: '0', SIMULATOR_BATCH_MS: '0' };
  const tools = { TOOL_HOSTS: new URL(shop.url).host, TOOL_SIGNING_SECRET };
  const code = await bundleWorker('test/fixtures/unthinking-worker.ts');
  const edge = await startEdgeWithPage({ ...quick, ...tools, GITHUB_WEBHOOK_SECRET: GITHUB_SECRET }, code);
  return {
    url: edge.url,
    shopUrl: shop.url,
    stop: async () => {
      await edge.stop();
      await shop.stop();
    },
  };
}
