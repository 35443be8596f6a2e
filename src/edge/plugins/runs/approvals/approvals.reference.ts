import { conversationId, turnExample, turnSchema } from '../../../conversations/object/conversations.reference.ts';
import { approvalRow } from '../../../conversations/object/conversations-answers.schema.ts';
import * as z from '../../../kit/http/zod.ts';
import { type ApiResource, describeRoutes } from '../../../openapi/resource.ts';
import { createNamedListSchema, describeJsonResponse } from '../../../openapi/responses.ts';
import { APPROVAL_ROUTES } from './approvals.route.ts';

const approval = {
  type: 'approval',
  id: 'appr_2m4gmfejmm3a_2_0',
  tool_use_id: 'toolu_01A',
  name: 'pay',
  input: { amount: 500 },
  input_text: '{"amount":500}',
  turn: 'turn_2m4gmfejmm3a',
  approvers: 'owner',
  created_at: '2026-11-20T10:06:18.780Z',
  decision: null,
  reason: null,
  changed_input: null,
  decided_at: null,
  continued_by: null,
};
const approvalSchema = z.addReferenceMeta(approvalRow, { id: 'Approval' });
const approvalList = createNamedListSchema('ApprovalList', approvalSchema);
const decided = z.union([approvalSchema, turnSchema]);

export const approvals: ApiResource = {
  tag: 'Conversations',
  parameters: {
    id: conversationId,
    approval: { description: 'The id of the approval.', example: 'appr_2m4gmfejmm3a_2_0' },
  },
  errors: [503],
  routes: describeRoutes(APPROVAL_ROUTES, {
    'GET /conversations/:id/approvals': {
      operation: 'listApprovals',
      summary: 'List calls that wait for approval',
      answer: describeJsonResponse('The calls that wait for approval, in their order.', approvalList, {
        data: [approval],
        has_more: false,
        first_id: approval.id,
        last_id: approval.id,
      }),
    },
    'POST /conversations/:id/approvals/:approval': {
      operation: 'decideApproval',
      summary: 'Approve or deny a call',
      description:
        'The `approvers` of the agent decide: the owner of the conversation, or only an admin. Repeating the same decision has no effect. A different decision returns a 409.',
      body: {
        id: 'ApprovalDecision',
        example: { decision: 'deny', reason: 'It was paid in May.' },
      },
      answers: {
        200: describeJsonResponse(
          'The decided call, if other calls of its step still wait. Otherwise the turn that continued after the decision.',
          decided,
          approval,
        ),
        202: describeJsonResponse(
          'The turn that continues, because all calls of the step are decided.',
          turnSchema,
          turnExample,
        ),
      },
      errors: [409],
    },
  }),
};
