/**
 * What of the installed SDK the simulator does not judge as the API would, and why. A type's own members and variants stand behind
 * its name; several types with the same ones stand together. The beta’s types are named as the others, without “Beta”.
 */

/**
 * Members and types of betas. Without a beta’s header the simulator refuses them by name, as the API does. With any beta it takes
 * whatever it does not know, since clients ask for betas that no SDK names: so it needs no list of them, and here is one.
 */
export const OF_BETAS: Readonly<Record<string, string>> = {
  'MessageCreateParamsNonStreaming MessageCreateParamsStreaming': 'compaction',
  'MessageCreateParamsBase.compaction': 'summarize',
  OutputConfig: 'task_budget',
  CompactionConfig: 'type instructions',
  'OutputConfig.task_budget': 'tokens null',
  'ThinkingConfigEnabled ThinkingConfigAdaptive': 'block_binding',
  'ToolUnion MessageCountTokensParams.tools':
    'bash_20241022 computer_20241022 computer_20250124 text_editor_20241022 computer_20251124 advisor_20260301 mcp_toolset',
  SystemMessageParam: 'clear_at output_config',
  'CompactionConfig.instructions MCPToolParam.description CompactionBlockParam.content CompactionBlockParam.encrypted_content CompactionBlockParam.signature AdvisorResultBlockParam.stop_reason AdvisorRedactedResultBlockParam.stop_reason':
    'string null',
  TokenTaskBudget: 'total type remaining',
  'ThinkingConfigEnabled.block_binding ThinkingConfigAdaptive.block_binding': 'ThinkingBlockBinding null',
  'ThinkingConfigEnabled.display ThinkingConfigAdaptive.display': 'updates',
  'ToolBash20241022 ToolTextEditor20241022':
    'name type allowed_callers cache_control defer_loading input_examples strict',
  'ToolComputerUse20241022 ToolComputerUse20250124':
    'display_height_px display_width_px name type allowed_callers cache_control defer_loading display_number input_examples strict',
  ToolComputerUse20251124:
    'display_height_px display_width_px name type allowed_callers cache_control defer_loading display_number enable_zoom input_examples strict',
  AdvisorTool20260301: 'model name type allowed_callers cache_control caching defer_loading max_tokens max_uses strict',
  MCPToolset: 'mcp_server_name type cache_control configs default_config tools',
  'SystemMessageParam.clear_at': 'next_user_message never null',
  'SystemMessageParam.output_config': 'SystemMessageOutputConfig null',
  'TokenTaskBudget.remaining ToolComputerUse20241022.display_number ToolComputerUse20250124.display_number ToolComputerUse20251124.display_number AdvisorTool20260301.max_tokens AdvisorTool20260301.max_uses':
    'number null',
  ThinkingBlockBinding: 'prefix_mismatch_behavior',
  'ToolBash20241022.cache_control ToolComputerUse20241022.cache_control ToolComputerUse20250124.cache_control ToolTextEditor20241022.cache_control ToolComputerUse20251124.cache_control AdvisorTool20260301.cache_control AdvisorTool20260301.caching MCPToolset.cache_control AdvisorToolResultBlockParam.cache_control MCPToolUseBlockParam.cache_control RequestMCPToolResultBlockParam.cache_control CompactionBlockParam.cache_control RequestToolAdditionBlock.cache_control RequestToolRemovalBlock.cache_control':
    'ephemeral null',
  'MCPToolset.configs': 'any null',
  MCPToolDefaultConfig: 'defer_loading enabled',
  'MCPToolset.tools': 'list null',
  SystemMessageOutputConfig: 'effort',
  'ThinkingBlockBinding.prefix_mismatch_behavior': 'error drop_block null',
  'ToolBash20241022.allowed_callers ToolComputerUse20241022.allowed_callers ToolComputerUse20250124.allowed_callers ToolTextEditor20241022.allowed_callers ToolComputerUse20251124.allowed_callers AdvisorTool20260301.allowed_callers':
    'direct code_execution_20250825 code_execution_20260120 code_execution_20260521',
  ContentBlockParam:
    'advisor_tool_result mcp_tool_use mcp_tool_result compaction tool_addition tool_removal mcp_tool_listing fallback',
  'SystemMessageParam.content': 'tool_addition tool_removal',
  'SystemMessageOutputConfig.effort': 'low medium high xhigh max null',
  MCPToolParam: 'input_schema name description',
  AdvisorToolResultBlockParam: 'content tool_use_id type cache_control',
  MCPToolUseBlockParam: 'id input name server_name type cache_control',
  RequestMCPToolResultBlockParam: 'tool_use_id type cache_control content is_error',
  CompactionBlockParam: 'type cache_control content encrypted_content signature tool_changes',
  'RequestToolAdditionBlock RequestToolRemovalBlock': 'tool type cache_control',
  MCPToolListingBlockParam: 'mcp_server_name tools type',
  FallbackBlockParam: 'from to type trigger',
  'ServerToolUseBlockParam.name': 'advisor',
  'AdvisorToolResultBlockParam.content': 'advisor_tool_result_error advisor_result advisor_redacted_result',
  'RequestMCPToolResultBlockParam.content': 'string list',
  'CompactionBlockParam.tool_changes': 'list null tool_addition tool_removal',
  'RequestToolAdditionBlock.tool': 'tool_reference mcp_tool_reference mcp_toolset_reference tool_definition',
  'RequestToolRemovalBlock.tool': 'tool_reference mcp_tool_reference mcp_toolset_reference',
  FallbackInfoParam: 'model',
  AdvisorToolResultErrorParam: 'error_code type',
  AdvisorResultBlockParam: 'text type stop_reason',
  AdvisorRedactedResultBlockParam: 'encrypted_content type stop_reason',
  ToolChangeToolReference: 'name type',
  ToolChangeMCPToolReference: 'name server_name type',
  ToolChangeMCPToolsetReference: 'server_name type',
  ToolChangeToolDefinitionParam: 'definition type',
  'AdvisorToolResultErrorParam.error_code':
    'max_uses_exceeded prompt_too_long too_many_requests overloaded unavailable execution_time_exceeded model_not_found',
};

/** Where the simulator takes anything. */
export const UNJUDGED: Readonly<Record<string, string>> = {
  // A JSON schema may have members of its own.
  'Tool.InputSchema': 'type properties required',
  // A word in place of an object, about what the simulator never does: clear what was thought.
  'ClearThinking20251015Edit.keep': 'all',
  // A count ignores it, as the API does.
  'MessageCountTokensParams.compaction': 'summarize',
};

/** What the simulator refuses in any request of a test. */
export const REFUSED: readonly { what: RegExp; why: string }[] = [
  {
    what: /^Model claude-mythos-preview: 404 /,
    why: 'No price list names it, so it is not in the table of models. Who has it adds it with PRICES.',
  },
  {
    what: /^(?:ContentBlockParam redacted_thinking|RedactedThinkingBlockParam \w+): 400 .*Invalid `data`/,
    why: 'Its data is sealed by whoever has made it, and this was nobody.',
  },
  {
    what: /^(?:\S+\.thread continue|ThreadContinueParams \w+): 40[04] .*no usable Thread state/,
    why: 'The simulator keeps no threads. The official client sends everything again.',
  },
];

/**
 * What queries and forms have. Neither the edge nor the simulator refuses others there, so whoever updates the SDK looks at
 * what is new.
 */
export const BESIDE_BODIES: Readonly<Record<string, string>> = {
  'models.list': 'limit before_id after_id lifecycle',
  // A scope is a session, and there are none: all files of the account are listed.
  'files.list': 'limit page ids scope_id',
  'files.upload': 'file expires_in_seconds',
  'messages.batches.list': 'limit before_id after_id',
  'messages.batches.create': 'requests',
};
