import * as z from '../../kit/http/zod.ts';
import { tokenId } from '../../money/credentials/tokens.reference.ts';
import { visitorToken } from '../../money/credentials/tokens-answers.schema.ts';
import { type ApiResource, describeRoutes } from '../../openapi/resource.ts';
import { describeJsonResponse } from '../../openapi/responses.ts';
import { VISITOR_ROUTES } from './visitors.route.ts';

export const visitors: ApiResource = {
  tag: 'Tokens',
  routes: describeRoutes(VISITOR_ROUTES, {
    'POST /tokens/visitor': {
      operation: 'mintVisitorToken',
      summary: 'Create a token for a visitor without a login',
      description:
        'Only if `VISITORS` is set, which also sets the token’s restrictions. The token can be renewed like any other.',
      body: {
        id: 'VisitorTokenRequest',
        example: { turnstile: '0.zrSnRHO7h0HwSjSCU8oyzbjEtD8p' },
      },
      answers: {
        201: describeJsonResponse('The token.', z.addReferenceMeta(visitorToken, { id: 'VisitorToken' }), {
          token: 'eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJhbGljZSJ9.c2lnbmF0dXJl',
          jti: tokenId,
          account: 'visitor:6a5b2b1e3a0e4c569d5b0d7a0e1f2c3d',
          expires_at: '2026-11-20T11:06:14.000Z',
          session_ends_at: '2026-11-21T10:06:14.000Z',
        }),
      },
      errors: [404, 429, 503],
    },
  }),
};
