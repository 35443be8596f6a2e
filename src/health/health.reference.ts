import { jsonAnswer } from '../reference/answers.ts';
import type { Resource } from '../reference/resource.ts';
import { healthAnswer } from './health-answers.schema.ts';

export const health: Resource = {
  tag: 'Health',
  description: 'Whether the edge lives.',
  routes: {
    'GET /health': {
      operation: 'health',
      summary: 'Check that the edge is up',
      needs: 'nothing',
      answers: { 200: jsonAnswer('It lives.', healthAnswer, { status: 'ok', upstream: 'anthropic' }) },
    },
  },
};
