import { overviewAnswer } from '../../health/overview-answers.schema.ts';
import * as z from '../../kit/http/zod.ts';
import { type ApiResource, describeRoutes } from '../../openapi/resource.ts';
import { describeJsonResponse } from '../../openapi/responses.ts';
import { OVERVIEW_ROUTES } from './overview.route.ts';

const example = {
  type: 'overview',
  requests: { requests: 4_120, failed: 4, refused: 59, last_failed_at: '2026-11-20T12:09:41.000Z' },
  rejections: [
    { limited_by: 'account', reason: 'spend', requests: 52 },
    { limited_by: 'account', reason: 'rate', requests: 7 },
  ],
  accounts: { blocked: 1, spent: 3 },
  undelivered_events: [{ source: 'github', events: 2, failing_since: '2026-11-20T11:58:02.000Z' }],
  undelivered_alerts: 1,
  incidents: [
    {
      kind: 'upstream_failing',
      since: '2026-11-20T12:04:00.000Z',
      subject: '57 of 57 requests failed in the last five minutes, the last with overloaded_error',
      todo: 'The operator can check the upstream’s status page, and add another upstream (UPSTREAMS) to keep requests working. If UPSTREAMS is set, an admin can also allow fallback_models for accounts (PATCH /accounts/:id/limits).',
    },
  ],
  failing_tasks: [
    { task: 'alert', failing_since: '2026-11-20T12:00:00.000Z', last_reported_at: '2026-11-20T12:10:10.000Z' },
  ],
  key_limits: [
    {
      upstream: '',
      model_class: 'opus',
      kind: 'output_tokens',
      limit: 80_000,
      remaining: 4_200,
      resets_at: '2026-11-20T12:10:40.000Z',
      reported_at: '2026-11-20T12:10:10.000Z',
      rejected_requests: 14,
    },
  ],
  versions: [{ id: '2f8c1a44-6d0b-4b7e-9a53-0c1de8f7b6a2', since: '2026-11-20T09:30:12.000Z' }],
};

export const overview: ApiResource = {
  tag: 'Overview',
  description: 'The problems of the deployment in one response.',
  errors: [503],
  routes: describeRoutes(OVERVIEW_ROUTES, {
    'GET /overview': {
      operation: 'overview',
      summary: 'Retrieve the deployment’s problems',
      description:
        'For details, use `GET /usage/requests?outcome=…` for rejected and failed requests, `GET /accounts?sort=used` for accounts, `GET /webhooks/:source/events` for events, and `GET /alerts` for alerts.',
      answer: describeJsonResponse(
        'The problems of the deployment.',
        z.addReferenceMeta(overviewAnswer, { id: 'Overview' }),
        example,
      ),
    },
  }),
};
