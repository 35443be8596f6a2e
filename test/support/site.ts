import { createServer } from 'node:http';

/** A web site on loopback, of another origin than any edge. */
export interface Site {
  url: string;
  stop(): void;
}

/** Serves one page: its HTML anywhere, and its module where the HTML names `/page.js`. */
export async function startSite(
  script: string,
  html = '<script type="module" src="/page.js"></script>',
): Promise<Site> {
  const server = createServer((request, response) => {
    const isScript = request.url === '/page.js';
    response.setHeader('content-type', isScript ? 'text/javascript' : 'text/html; charset=utf-8');
    response.end(isScript ? script : `<!doctype html><body>${html}`);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  return {
    url: `http://127.0.0.1:${typeof address === 'object' && address ? address.port : 0}/`,
    stop: () => {
      server.closeAllConnections();
      server.close();
    },
  };
}
