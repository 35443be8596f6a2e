/**
 * The betas that fields, types and values need: what the SDK has in its beta types alone. Source of the names: the SDK's docstrings
 * and CHANGELOG.
 */

import type { BetaTable } from './field-types.ts';

const COMPACTION = ['compact-2026-09-04', 'compact-2026-01-12'];
const COMPUTER_USE = ['computer-use'];
const MCP = ['mcp-client'];
const TOOL_CHANGES = ['mid-conversation-tool-changes', 'inline-tools'];
const ADVISOR = ['advisor-tool'];
const BINDING_CONTROLS = ['thinking-binding-controls'];
const DISPLAY_UPDATES = ['thinking-display-updates'];

export const FIELD_BETAS: BetaTable = {
  billing_policy: ['user-profiles-billing'],
  compaction: ['compact-2026-09-04'],
  context_management: ['context-management', 'compact-2026-01-12'],
  fallback_credit_token: ['fallback-credit'],
  fallbacks: ['server-side-fallback'],
  mcp_servers: MCP,
  output_format: ['structured-outputs'],
  safeguards: ['dangerous-tool-use'],
  thread: ['message-threads'],

  'CacheControlEphemeral.scope': ['prompt-caching-scope'],
  'MessageParam.clear_at': ['mid-conversation-system-clear-at'],
  'MessageParam.output_config': ['mid-conversation-output-config', 'per-turn-control'],
  'OutputConfig.task_budget': ['task-budgets'],
  'ThinkingConfigAdaptive.block_binding': BINDING_CONTROLS,
  'ThinkingConfigAdaptive.display=updates': DISPLAY_UPDATES,
  'ThinkingConfigEnabled.block_binding': BINDING_CONTROLS,
  'ThinkingConfigEnabled.display=updates': DISPLAY_UPDATES,
  'ServerToolUseBlockParam.name=advisor': ADVISOR,

  AdvisorToolResultBlockParam: ADVISOR,
  AdvisorTool20260301: ADVISOR,
  Compact20260112Edit: ['compact-2026-01-12'],
  CompactionBlockParam: COMPACTION,
  FallbackBlockParam: ['server-side-fallback'],
  MCPToolListingBlockParam: MCP,
  MCPToolUseBlockParam: MCP,
  MCPToolset: MCP,
  RequestMCPToolResultBlockParam: MCP,
  RequestToolAdditionBlock: TOOL_CHANGES,
  RequestToolRemovalBlock: TOOL_CHANGES,
  ToolBash20241022: COMPUTER_USE,
  ToolChangeToolDefinitionParam: ['inline-tools', 'compact-2026-09-04'],
  ToolComputerUse20241022: COMPUTER_USE,
  ToolComputerUse20250124: COMPUTER_USE,
  ToolComputerUse20251124: COMPUTER_USE,
  ToolTextEditor20241022: COMPUTER_USE,
};
