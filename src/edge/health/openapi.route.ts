import { defineRoute } from '../auth/route.ts';
import { createNotFoundError } from '../kit/http/errors.ts';
import { memoizeFromPlugins } from '../kit/plugins/plugins.ts';
import { type OpenApiDocument, selectServedRoutes } from './served-document.ts';

/** The path of this route, and of the document with all plugins' routes among the Worker's assets (`scripts/build.ts`). */
const PATH = '/openapi.json';
const ASSET_PATH = `/docs${PATH}`;

interface ServedDocument {
  mount: string;
  bytes: Uint8Array;
  headers: Headers;
}

/** The latest response. Anyone can request it, and selecting the routes takes about 10 ms of CPU. */
const getCache = memoizeFromPlugins((): { latest?: ServedDocument } => ({}));

export const OPENAPI_ROUTES = [
  defineRoute(`GET ${PATH}`, { needs: 'nothing' }, async (c) => {
    const cache = getCache();
    const mount = c.req.path.slice(0, -PATH.length);
    if (cache.latest?.mount !== mount) {
      const asset = await c.env.ASSETS?.fetch(new URL(ASSET_PATH, c.req.url));
      if (!asset?.ok) {
        await asset?.body?.cancel();
        throw createNotFoundError(
          'This deployment does not include the API reference. Its operator can add it to wrangler.toml: `binding = "ASSETS"` in `[assets]`.',
        );
      }
      cache.latest = await createServedDocument(mount, asset);
    }
    const { bytes, headers } = cache.latest;
    return new Response(bytes, { headers });
  }),
];

async function createServedDocument(mount: string, asset: Response): Promise<ServedDocument> {
  const document: OpenApiDocument = await asset.json();
  const headers = new Headers(asset.headers);
  // Remove the headers of the asset's bytes. Its tag does not change with the list of plugins.
  for (const name of ['etag', 'content-length']) headers.delete(name);
  return { mount, bytes: new TextEncoder().encode(JSON.stringify(selectServedRoutes(document, mount))), headers };
}
