import { DEPLOYMENT } from '../../auth/identity/identity.ts';
import { defineRoute } from '../../auth/route.ts';
import { parsePageQuery } from '../../kit/http/page.ts';
import { validateBySchema } from '../../kit/http/validate.ts';
import { createOwnerCaller } from '../../money/contracts/call-account.ts';
import { changesQuery } from './changes.schema.ts';

/** What admins have changed. */
export const CHANGE_ROUTES = [
  defineRoute('GET /changes', { needs: 'admin:read', pages: true, query: changesQuery }, async (c, { query }) => {
    const page = parsePageQuery(c.req.query());
    const { from, to, ...filter } = validateBySchema(query, c.req.query());
    const times = { from: from && Date.parse(from), to: to && Date.parse(to) };
    const wanted = { ...page, ...filter, from: times.from || undefined, to: times.to || undefined };
    return c.json(await createOwnerCaller(c, DEPLOYMENT)((object) => object.listChanges(wanted)));
  }),
];
