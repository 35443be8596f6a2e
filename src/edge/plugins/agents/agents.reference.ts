import * as z from '../../kit/http/zod.ts';
import type { ApiResource } from '../../openapi/resource.ts';
import { describeJsonResponse } from '../../openapi/responses.ts';
import {
  createParameterDescriptions,
  createVersionedRoutesReference,
} from '../../registry/versions/versions.reference.ts';
import { AGENT_ROUTES } from './agents.route.ts';
import { putAgent } from './agents.schema.ts';
import { agentContent, agentDeleted, agentReport } from './agents-answers.schema.ts';

const version = 'support@6d0c1f2ab1f84b7b9c1dd0ad6f7a3a54';
const fields = {
  model: 'claude-sonnet-5-5',
  max_tokens: 4_096,
  system: 'You answer for Acme. Look the order up before you say anything of it.',
  tools: [
    {
      name: 'find_order',
      description: 'Tells where an order is.',
      input_schema: { type: 'object', properties: { order: { type: 'string' } }, required: ['order'] },
    },
  ],
  limits: { max_turns: 8, max_usd: 0.2 },
  description: 'Answers about orders',
};
const stored = {
  type: 'agent',
  name: 'support',
  version,
  owner: 'account',
  ...fields,
  limits: { max_turns: 8, max_usd: 0.2, max_tool_calls: 100, parallel_tools: 6 },
  approvers: 'owner',
};
const content = z.addReferenceMeta(agentContent, { id: 'Agent' });

export const agents: ApiResource = {
  tag: 'Agents',
  description:
    'Agents: a model, a system prompt, tools and limits, stored in versions. A request selects one with `agent`, and its conversation keeps the version that it started with.',
  parameters: createParameterDescriptions('support'),
  routes: createVersionedRoutesReference(AGENT_ROUTES, {
    kind: 'agent',
    title: 'Agent',
    plural: 'agents',
    example: { name: 'support', version, description: fields.description, bytes: 412 },
    put: {
      schemas: putAgent,
      example: fields,
      answer: describeJsonResponse(
        'The current version of the name.',
        z.addReferenceMeta(agentReport, { id: 'AgentReport' }),
        {
          ...stored,
          warnings: [],
        },
      ),
      errors: [429, 503],
    },
    content: { schema: content, example: stored },
    deleted: agentDeleted,
    remove: {
      summary: 'Delete an agent',
      description: 'Existing conversations continue, because each has a copy of its version.',
    },
  }),
};
