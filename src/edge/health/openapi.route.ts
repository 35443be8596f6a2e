import { defineRoute } from '../auth/route.ts';
import { createNotFoundError } from '../kit/http/errors.ts';
import { type OpenApiDocument, selectServedRoutes } from './served-document.ts';

/** The path of this route, and of the document with all plugins' routes among the Worker's assets (`scripts/build.ts`). */
const PATH = '/openapi.json';
const ASSET_PATH = `/docs${PATH}`;

export const OPENAPI_ROUTES = [
  defineRoute(`GET ${PATH}`, { needs: 'nothing' }, async (c) => {
    const asset = await c.env.ASSETS?.fetch(new URL(ASSET_PATH, c.req.url));
    if (!asset?.ok) {
      await asset?.body?.cancel();
      throw createNotFoundError(
        'This deployment does not include the API reference. Its operator can add it to wrangler.toml: `binding = "ASSETS"` in `[assets]`.',
      );
    }
    const document: OpenApiDocument = await asset.json();
    const headers = new Headers(asset.headers);
    // The asset's own: the tag does not change with the list of plugins.
    for (const name of ['etag', 'content-length']) headers.delete(name);
    return new Response(JSON.stringify(selectServedRoutes(document, c.req.path.slice(0, -PATH.length))), { headers });
  }),
];
