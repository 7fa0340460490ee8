package stepfunctions

import (
	"encoding/json"
	"strings"
	"testing"
)

func TestChoiceOperators(t *testing.T) {
	const input = `{"s":"b","star":"a*b","n":2,"f":2.5,"t":true,"z":null,"ts":"2026-11-22T09:00:00Z","later":"2026-11-22T10:00:00+00:00","m":2}`
	tests := []struct {
		rule string
		want bool
	}{
		{`"Variable":"$.s","StringEquals":"b"`, true},
		{`"Variable":"$.n","StringEquals":"2"`, false},
		{`"Variable":"$.s","StringLessThan":"c"`, true},
		{`"Variable":"$.s","StringGreaterThan":"b"`, false},
		{`"Variable":"$.s","StringGreaterThanEquals":"b"`, true},
		{`"Variable":"$.s","StringLessThanEqualsPath":"$.star"`, false},
		{`"Variable":"$.star","StringMatches":"a*"`, true},
		{`"Variable":"$.star","StringMatches":"a\\*b"`, true},
		{`"Variable":"$.s","StringMatches":"a\\*b"`, false},
		{`"Variable":"$.s","StringMatches":"*b*"`, true},
		{`"Variable":"$.n","NumericEquals":2.0`, true},
		{`"Variable":"$.n","NumericEqualsPath":"$.m"`, true},
		{`"Variable":"$.f","NumericGreaterThan":2`, true},
		{`"Variable":"$.f","NumericLessThanPath":"$.n"`, false},
		{`"Variable":"$.s","NumericGreaterThan":2`, false},
		{`"Variable":"$.t","BooleanEquals":true`, true},
		{`"Variable":"$.t","BooleanEquals":false`, false},
		{`"Variable":"$.ts","TimestampLessThanPath":"$.later"`, true},
		{`"Variable":"$.ts","TimestampEquals":"2026-11-22T09:00:00Z"`, true},
		{`"Variable":"$.s","TimestampLessThan":"2026-11-22T09:00:00Z"`, false},
		{`"Variable":"$.z","IsNull":true`, true},
		{`"Variable":"$.s","IsNull":false`, true},
		{`"Variable":"$.z","IsPresent":true`, true},
		{`"Variable":"$.none.deeper","IsPresent":true`, false},
		{`"Variable":"$.none","IsPresent":false`, true},
		{`"Variable":"$.n","IsNumeric":true`, true},
		{`"Variable":"$.n","IsString":true`, false},
		{`"Variable":"$.t","IsBoolean":true`, true},
		{`"Variable":"$.ts","IsTimestamp":true`, true},
		{`"Variable":"$.s","IsTimestamp":true`, false},
		{`"Variable":"$$.State.Name","StringEquals":"S"`, true},
		{`"And":[{"Variable":"$.none","IsPresent":true},{"Variable":"$.none","NumericEquals":1}]`, false},
		{`"Or":[{"Variable":"$.n","NumericEquals":1},{"Not":{"Variable":"$.n","NumericEquals":1}}]`, true},
		{`"And":[{"Variable":"$.n","NumericEquals":2},{"Variable":"$.s","StringEquals":"b"}]`, true},
	}
	for _, test := range tests {
		definition := `{"StartAt":"S","States":{"S":{"Type":"Choice","Choices":[{` + test.rule + `,"Next":"Yes"}],"Default":"No"},"Yes":{"Type":"Pass","Result":true,"End":true},"No":{"Type":"Pass","Result":false,"End":true}}}`
		r, _ := execute(t, newService(t, nil), definition, input)
		if got := r.Output == "true"; r.Status != succeeded || got != test.want {
			t.Errorf("%s: %+v", test.rule, r)
		}
	}
}

func TestIntrinsics(t *testing.T) {
	const input = `{"name":"Foo","zipcode":98101,"list":[1,2,3,3],"s":"{\"a\":1}","o":{"a":{"x":1},"b":2},"p":{"a":{"y":2}},"key":"q"}`
	tests := []struct{ call, want string }{
		{`States.Format('Your name is {}, we are in {} {}.', $.name, $.zipcode, $.o.b)`, `"Your name is Foo, we are in 98101 2."`},
		{`States.Format('\\{{}\\} it\\'s', $.name)`, `"{Foo} it's"`},
		{`States.Format('no holes')`, `"no holes"`},
		{`States.Format($.key)`, `"q"`},
		{`States.StringToJson($.s)`, `{"a":1}`},
		{`States.JsonToString($.o)`, `"{\"a\":{\"x\":1},\"b\":2}"`},
		{`States.Array('a', 1, true, null, $.name, States.MathAdd(1, -2))`, `["a",1,true,null,"Foo",-1]`},
		{`States.Array()`, `[]`},
		{`States.ArrayPartition($.list, 3)`, `[[1,2,3],[3]]`},
		{`States.ArrayContains($.list, 2)`, `true`},
		{`States.ArrayContains($.list, '2')`, `false`},
		{`States.ArrayRange(1, 9, 2)`, `[1,3,5,7,9]`},
		{`States.ArrayRange(3, 1, -1)`, `[3,2,1]`},
		{`States.ArrayGetItem($.list, 2)`, `3`},
		{`States.ArrayLength($.list[?(@ > 1)])`, `3`},
		{`States.ArrayUnique($.list)`, `[1,2,3]`},
		{`States.Base64Encode('Data to encode')`, `"RGF0YSB0byBlbmNvZGU="`},
		{`States.Base64Decode('RGF0YSB0byBlbmNvZGU=')`, `"Data to encode"`},
		{`States.Hash('input data', 'SHA-1')`, `"aaff4a450a104cd177d28d18d74485e8cae074b7"`},
		{`States.JsonMerge($.o, $.p, false)`, `{"a":{"y":2},"b":2}`},
		{`States.MathAdd($.zipcode, 1)`, `98102`},
		{`States.StringSplit('1,2;3,', ',;')`, `["1","2","3"]`},
		{`States.ArrayLength(States.StringSplit(States.UUID(), '-'))`, `5`},
		{`States.Format('{}', $['name'])`, `"Foo"`},
	}
	for _, test := range tests {
		quoted := `"` + strings.ReplaceAll(test.call, `"`, `\"`) + `"`
		r, _ := execute(t, newService(t, nil), single(`{"Type":"Pass","Parameters":{"x.$":`+quoted+`},"OutputPath":"$.x","End":true}`), input)
		if r.Output != test.want {
			t.Errorf("%s: %+v, want %s", test.call, r, test.want)
		}
	}
	for _, call := range []string{
		`States.Format('{}')`, `States.Format('', 1)`, `States.StringToJson('{')`, `States.ArrayGetItem($.list, 4)`, `States.ArrayRange(0, 9, 0)`,
		`States.ArrayRange(1, 2000, 1)`, `States.JsonMerge($.o, $.p, true)`, `States.Hash('x', 'CRC')`, `States.MathRandom(2, 2)`, `States.MathAdd(1)`,
	} {
		r, _ := execute(t, newService(t, nil), single(`{"Type":"Pass","Parameters":{"x.$":"`+call+`"},"End":true}`), input)
		if r.Error != errIntrinsic {
			t.Errorf("%s: %+v", call, r)
		}
	}
	r, _ := execute(t, newService(t, nil), single(`{"Type":"Pass","Parameters":{"x.$":"States.MathRandom(5, 6)"},"End":true}`), input)
	if r.Output != `{"x":5}` {
		t.Errorf("%+v", r)
	}
}

func TestInvalidDefinitions(t *testing.T) {
	tests := []struct{ definition, want string }{
		{`{`, "INVALID_JSON_DESCRIPTION"},
		{`[]`, "object"},
		{`{"States":{"S":{"Type":"Succeed"}}}`, "StartAt"},
		{`{"StartAt":"X","States":{"S":{"Type":"Succeed"}}}`, "MISSING_TRANSITION_TARGET"},
		{`{"StartAt":"S","States":{"S":{"Type":"Succeed"}},"Extra":1}`, "Extra"},
		{`{"StartAt":"S","QueryLanguage":"JSONata","States":{"S":{"Type":"Succeed"}}}`, "JSONPath only"},
		{single(`{"Type":"Pass"}`), "Either 'Next' or 'End'"},
		{single(`{"Type":"Pass","Next":"S","End":true}`), "Either 'Next' or 'End'"},
		{single(`{"Type":"Pass","Next":"T"}`), "MISSING_TRANSITION_TARGET"},
		{single(`{"Type":"Nap","End":true}`), "Unknown state type"},
		{single(`{"Type":"Pass","Retry":[],"End":true}`), "/States/S/Retry"},
		{single(`{"Type":"Pass","ResultPath":"$.a[*]","End":true}`), "Reference Path"},
		{single(`{"Type":"Pass","ResultPath":"$.a[-1]","Result":1,"End":true}`), "Reference Path"},
		{single(`{"Type":"Pass","ResultPath":"$$.x","End":true}`), "context object"},
		{single(`{"Type":"Pass","InputPath":"a","End":true}`), "JSONPath"},
		{single(`{"Type":"Pass","InputPath":"$.a[","End":true}`), "JSONPath"},
		{single(`{"Type":"Pass","Parameters":{"a.$":"b"},"End":true}`), "intrinsic"},
		{single(`{"Type":"Pass","Parameters":{"a":[{"b.$":1}]},"End":true}`), "must be a STRING"},
		{single(`{"Type":"Pass","Parameters":{"a.$":"States.Nope()"},"End":true}`), "unknown function"},
		{single(`{"Type":"Task","End":true}`), "Resource"},
		{single(`{"Type":"Task","Resource":"arn:aws:states:::sqs:sendMessage","End":true}`), "testbed runs"},
		{single(`{"Type":"Task","Resource":"arn:aws:states:::lambda:invoke","TimeoutSeconds":0,"End":true}`), "TimeoutSeconds"},
		{single(`{"Type":"Task","Resource":"arn:aws:states:::lambda:invoke","Retry":[{"ErrorEquals":["States.ALL","X"]}],"End":true}`), "alone"},
		{single(`{"Type":"Task","Resource":"arn:aws:states:::lambda:invoke","Retry":[{"ErrorEquals":["States.ALL"]},{"ErrorEquals":["X"]}],"End":true}`), "last retrier"},
		{single(`{"Type":"Task","Resource":"arn:aws:states:::lambda:invoke","Retry":[{"ErrorEquals":["X"],"BackoffRate":0.5}],"End":true}`), "BackoffRate"},
		{single(`{"Type":"Task","Resource":"arn:aws:states:::lambda:invoke","Catch":[{"ErrorEquals":["X"],"Next":"T"}],"End":true}`), "MISSING_TRANSITION_TARGET"},
		{single(`{"Type":"Choice","Choices":[]}`), "Choices"},
		{single(`{"Type":"Choice","Choices":[{"Variable":"$.a","NumericEquals":"1","Next":"S"}]}`), "wrong type"},
		{single(`{"Type":"Choice","Choices":[{"Variable":"$.a","IsPresent":true,"IsNull":true,"Next":"S"}]}`), "exactly one operator"},
		{single(`{"Type":"Choice","Choices":[{"Variable":"$.a","IsPresent":true}]}`), "Next"},
		{single(`{"Type":"Choice","Choices":[{"Not":{"Variable":"$.a","IsPresent":true,"Next":"S"},"Next":"S"}]}`), "nested rule"},
		{single(`{"Type":"Wait","End":true}`), "One of Seconds"},
		{single(`{"Type":"Wait","Seconds":1,"SecondsPath":"$.a","End":true}`), "only one of"},
		{single(`{"Type":"Wait","Timestamp":"tomorrow","End":true}`), "timestamp"},
		{single(`{"Type":"Map","End":true}`), "ItemProcessor"},
		{single(`{"Type":"Map","ItemProcessor":{"ProcessorConfig":{"Mode":"DISTRIBUTED"},"StartAt":"P","States":{"P":{"Type":"Succeed"}}},"End":true}`), "INLINE"},
		{single(`{"Type":"Parallel","Branches":[{"StartAt":"S","States":{"S":{"Type":"Succeed"}}}],"End":true}`), "DUPLICATE_STATE_NAME"},
	}
	for _, test := range tests {
		if _, err := parseDefinition(test.definition); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want %s", test.definition, err, test.want)
		}
	}
}

func TestEncodeRoundTrip(t *testing.T) {
	for _, document := range []string{`{"a":[1,1.5,-9223372036854775808,1e+30,null,true,"x"]}`, `""`, `0`} {
		v, err := decode([]byte(document))
		if err != nil {
			t.Fatal(err)
		}
		if got := encode(v); got != document || !json.Valid([]byte(got)) {
			t.Errorf("%s became %s", document, got)
		}
	}
}
