import { healthAnswer } from '../schemas/health.ts';
import type { Resource } from './route.ts';

export const health: Resource = {
  tag: 'Health',
  description: 'Whether the edge lives.',
  routes: {
    'GET /health': {
      operation: 'health',
      summary: 'See that the settings hold',
      needs: 'nothing',
      answers: {
        200: {
          description: 'It lives.',
          content: [{ schema: healthAnswer, example: { status: 'ok', upstream: 'anthropic' } }],
        },
      },
    },
  },
};
