import * as z from '../../kit/http/zod.ts';
import { changeRow } from '../../money/changes/changes-answers.schema.ts';
import { type ApiResource, describeRoutes } from '../../openapi/resource.ts';
import { createNamedListSchema, describePageResponse } from '../../openapi/responses.ts';
import { CHANGE_ROUTES } from './changes.route.ts';

const row = {
  type: 'change',
  id: 'chg_01kb9v3m2q8f7n5x4h6j2k1p0r',
  created_at: '2026-11-20T10:06:14.000Z',
  request_id: 'req_01kb9v3m2q8f7n5x4h6j2k1p0q',
  kind: 'limits.updated',
  actor: { account: 'olga', token: 'tok_8f7n5x4h_3q2z1c9v7m5k0p8r' },
  subject: { type: 'account', id: 'sales-09' },
  changes: { usd_per_day: { from: 2, to: 20 } },
};

export const changes: ApiResource = {
  tag: 'Changes',
  description:
    'What admins have changed over HTTP: limits, credit, erasures, restored accounts, members of groups, admins’ tokens, revocations, replayed events, and agents, classifiers and prefixes of the deployment. Settings and deploys are not included. A change is listed within seconds, and for 90 days; the last 100,000 changes are kept.',
  parameters: {},
  routes: describeRoutes(CHANGE_ROUTES, {
    'GET /changes': {
      operation: 'listChanges',
      summary: 'List changes, newest first',
      answer: describePageResponse(
        createNamedListSchema('ChangeList', z.addReferenceMeta(changeRow, { id: 'Change' })),
        row,
        row.id,
      ),
    },
  }),
};
