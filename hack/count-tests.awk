# Reads the output of hack/run-tests; code is its exit code. Prints a line "note"
# for each failure (the first 20) and each reason of a skip, "@" where the stage's
# name belongs, then a line "sum": passed, failed, skipped.

function lost(why) {
    failed++
    print "note\tFAILED: @: " name ": " why
}

/^-- begin / { name = $3; open = 1; closed = 0; found = 0; next }
/^-- end / {
    if (!closed) lost("exit code " $3 " without a result")
    else if ($3 != 0 && found == 0) lost("exit code " $3)
    open = 0
    next
}
# The last word: a test's own output may stand before it on the line.
/test result: (ok|FAILED)\. / {
    for (i = 1; i <= NF; i++) {
        if ($i == "passed;") passed += $(i - 1)
        if ($i == "failed;") failed += found = $(i - 1)
        if ($i == "ignored;") skipped += $(i - 1)
    }
    closed = 1
    next
}
# "test name ... ignored, reason" is the default harness's form, and
# "test [reason] name ... ignored" that of tests/runtime.
/^test .* \.\.\. FAILED/ && ++named <= 20 {
    test = $0
    sub(/^test +(\[[^]]*\] *)?/, "", test)
    sub(/ .*/, "", test)
    print "note\tFAILED: @: " name "::" test
}
/^test .* \.\.\. ignored/ {
    why = $0
    if (!sub(/^test \[/, "", why)) sub(/^test .* \.\.\. ignored[, ]*/, "", why)
    else sub(/\] .*/, "", why)
    reasons[why == "" ? "no reason given" : why]++
}

END {
    if (open) lost("ended before it was done")
    else if (code != 0 && failed == 0) { name = "the stage"; lost("exit code " code) }
    if (named > 20) print "note\tFAILED: @: and " named - 20 " more, see target/check/@.log"
    for (why in reasons) print "note\tskipped in @: " reasons[why] " x " why
    print "sum\t" passed + 0 " " failed + 0 " " skipped + 0
}
