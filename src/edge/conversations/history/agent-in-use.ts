/** An agent as the core uses it. Only the agents plugin knows how an agent is defined. */

import type { RequestContext } from '../../auth/context.ts';
import type { Upstream } from '../../claude/upstream.ts';
import type { Settings } from '../../config/settings.ts';
import type { Dimension, DimensionValues } from '../../money/contracts/dimensions.ts';
import type { ApproverRole } from '../../registry/tools/tool-kind.ts';
import type { InheritedSystemAndTools, NewConversationDefaults } from './inherited-parts.ts';
import type { RetainedAgent } from './storage/rows.ts';

/** The version of the agent that answers, name@version. */
export const OF_AGENT: Dimension<string> = { name: 'agent', group: 'agent', isVersion: true };

/** How an agent is applied to a request. */
export interface ApplyAgentOptions {
  /** How many cache breakpoints the agent may add. */
  maxBreakpoints: number;
  counts?: boolean;
  /**
   * The settings, with the secrets of its MCP servers. Absent if the request is only checked and not sent: then it names no
   * servers.
   */
  settings?: Pick<Settings, 'vars' | 'development' | 'models'>;
  /** The model that was chosen, if the agent chooses. Default: the one for questions without a label. */
  model?: string | undefined;
}

/** The message for which a model is to be chosen. */
export interface ModelChoiceInput {
  agent: RetainedAgent;
  /** The model that the request names. */
  named: string | undefined;
  messages: readonly { role: string; content?: unknown }[];
  context: RequestContext & { upstream: Upstream };
}

/** The model that was chosen for a message. */
export interface ChosenModel {
  model: string;
  dimensions: DimensionValues;
  /** @returns headers of its answer. @param hides whether only the model is told */
  createHeaders(hides: boolean): Record<string, string>;
}

export interface ResolvedAgent {
  /** Its JSON text, which each of its conversations keeps. */
  readonly text: string;
  readonly defaults: NewConversationDefaults;
  readonly definition: {
    readonly betas?: readonly string[] | undefined;
    readonly fallback_models?: readonly string[] | undefined;
    readonly approvers: ApproverRole;
  };
  /** Whether the request that is sent names secrets. */
  readonly hasSecrets: boolean;
  /** @returns whether one of its tools has this name. @param caller only those that its client calls: the edge calls the others */
  hasTool(name: unknown, caller?: 'client'): boolean;
  /**
   * Writes the request that is sent: the few members that the caller decides, then the agent's.
   *
   * @param members the caller's members as JSON texts
   * @throws ApiError 400 for what the agent does not allow, 500 for an MCP server whose secret is missing
   */
  buildRequestWithAgent(
    members: ReadonlyMap<string, string>,
    inherited: InheritedSystemAndTools,
    options: ApplyAgentOptions,
  ): string;
  /** Chooses the model of a message without a conversation. @returns undefined if it has only one model */
  chooseModel(request: ModelChoiceInput): Promise<ChosenModel | undefined>;
}
